import { type ContractLine, contractOf } from './contract.ts';
import { median } from './cpu.ts';

/** One figure of one round. A benchmark returns the rows of all rounds; {@link summarize} reduces them. */
export interface BenchRow {
  /** The benchmark: `fanout`, `publish`, `sessions`. */
  readonly bench: string;
  /** The workload: `1 × 1,000, one in flight`. */
  readonly row: string;
  readonly contestant: string;
  /** Name of the figure: `CPU`, `p50`, `rate`. */
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly lowerIsBetter: boolean;
  /** Reason why the value is not a result: something was missing, doubled, out of order, rejected or closed. */
  readonly fault?: string;
}

/** The rounds of one figure. */
export interface RowSummary extends Omit<BenchRow, 'value' | 'fault'> {
  /** NaN without a valid round. */
  readonly median: number;
  readonly best: number;
  readonly worst: number;
  readonly rounds: number;
}

/** Identity of a figure. */
export const keyOf = ({ bench, row, contestant, metric }: BenchRow): string =>
  [bench, row, contestant, metric].join('\n');

/** Median, best and worst round of each figure, in the order of the rows. Rounds with a fault are left out. */
export const summarize = (rows: readonly BenchRow[]): RowSummary[] =>
  [...Map.groupBy(rows, keyOf).values()].flatMap((all) => {
    const [first] = all;
    if (first === undefined) return [];
    const values = all.filter(({ fault }) => fault === undefined).map(({ value }) => value);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const { bench, row, contestant, metric, unit, lowerIsBetter } = first;
    return [
      {
        ...{ bench, row, contestant, metric, unit, lowerIsBetter },
        ...{ median: median(values), rounds: values.length },
        ...{ best: lowerIsBetter ? least : most, worst: lowerIsBetter ? most : least },
      },
    ];
  });

/** Digits that are worth printing. */
export const figure = (value: number): string => {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
};

/**
 * The tables as Markdown, one for each benchmark: median (best round) of each contestant, the ratio of Muster to the
 * peer of the contract (Centrifugo where it has no line), and the lines of the contract.
 */
export const printRows = (rows: readonly BenchRow[]): string[] =>
  [...Map.groupBy(rows, ({ bench }) => bench)].flatMap(([bench, all]) => {
    const contestants = [...new Set(all.map(({ contestant }) => contestant))];
    const figures = summarize(all.filter(({ metric }) => metric !== NO_RESULT));
    const lines = [...Map.groupBy(figures, ({ row, metric }) => `${row}\n${metric}`).values()];
    const isNotRun = (name: string) =>
      all.every(({ contestant, metric }) => contestant !== name || metric === NO_RESULT);
    return [
      ...['', `## ${bench.charAt(0).toUpperCase()}${bench.slice(1)}`, ''],
      `| workload | figure | ${contestants.join(' | ')} | ratio | must | reach |`,
      `| --- | --- |${' --: |'.repeat(contestants.length + 1)} --- | --- |`,
      ...lines.map((line) =>
        tableLine(
          line,
          contestants.map((name) => (isNotRun(name) ? 'not run' : cell(line, name))),
        ),
      ),
      ...['', ...faultLines(all)],
    ];
  });

/** Metric of a row that has no figure because the workload did not run. */
export const NO_RESULT = 'no result';

const cell = (line: readonly RowSummary[], contestant: string): string => {
  const one = line.find((each) => each.contestant === contestant);
  if (one === undefined) return '';
  return one.rounds > 1 ? `${figure(one.median)} (${figure(one.best)})` : figure(one.median);
};

const tableLine = (line: readonly RowSummary[], cells: readonly string[]): string => {
  const [first] = line;
  if (first === undefined) return '';
  const contract = contractOf(first);
  const medianOf = (name: string) => line.find(({ contestant }) => contestant === name)?.median ?? Number.NaN;
  const value = medianOf('muster');
  const ratio = value / medianOf(contract?.peer ?? 'centrifugo');
  const measured = contract?.peer === undefined ? value : ratio;
  const name = first.unit === '' ? first.metric : `${first.metric}, ${first.unit}`;
  const bounds = (['must', 'reach'] as const).map((kind) => describeBound(contract, contract?.[kind], measured));
  return `| ${[first.row, name, ...cells, figure(ratio), ...bounds].join(' | ')} |`;
};

const describeBound = (contract: ContractLine | undefined, limit: number | undefined, measured: number): string => {
  if (contract === undefined || limit === undefined) return '';
  const isMet = contract.isLeast === true ? measured >= limit : measured <= limit;
  const text = `${contract.isLeast === true ? '≥' : '≤'} ${limit}${contract.peer === undefined ? '' : ' ×'}`;
  return `${text}: ${Number.isNaN(measured) ? 'not run' : isMet ? 'met' : '**missed**'}`;
};

const faultLines = (rows: readonly BenchRow[]): string[] => {
  const faults = rows.flatMap(({ row, contestant, fault }) =>
    fault === undefined ? [] : [`- ${row}, ${contestant}: ${fault}`],
  );
  return faults.length === 0
    ? ['Nothing was missing, doubled or out of order, rejected or closed in any round.']
    : ['Rounds without a result, which are left out:', '', ...new Set(faults)];
};
