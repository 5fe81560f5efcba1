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

const keyOf = ({ bench, row, contestant, metric }: BenchRow): string => [bench, row, contestant, metric].join('\n');

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
export const printRows = (rows: readonly BenchRow[]): string[] => {
  const summaries = summarize(rows);
  return [...Map.groupBy(summaries, ({ bench }) => bench)].flatMap(([bench, all]) => {
    const contestants = [...new Set(all.map(({ contestant }) => contestant))];
    const lines = [...Map.groupBy(all, ({ row, metric }) => `${row}\n${metric}`).values()];
    return [
      ...['', `## ${title(bench)}`, ''],
      `| workload | figure | ${contestants.join(' | ')} | ratio | must | reach |`,
      `| --- | --- |${' --: |'.repeat(contestants.length + 1)} --- | --- |`,
      ...lines.map((line) => tableLine(line, contestants)),
      ...faultsOf(rows.filter((row) => row.bench === bench)),
    ];
  });
};

const title = (bench: string): string => bench.charAt(0).toUpperCase() + bench.slice(1);

const tableLine = (line: readonly RowSummary[], contestants: readonly string[]): string => {
  const [first] = line;
  if (first === undefined) return '';
  const of = (name: string) => line.find(({ contestant }) => contestant === name);
  const contract = contractOf(first);
  const peer = of(contract?.peer ?? 'centrifugo') ?? of('centrifugo');
  const muster = of('muster');
  const ratio = (muster?.median ?? Number.NaN) / (peer?.median ?? Number.NaN);
  const cells = contestants.map((name) => {
    const one = of(name);
    if (one === undefined) return '';
    return one.rounds > 1 ? `${figure(one.median)} (${figure(one.best)})` : figure(one.median);
  });
  return `| ${[
    ...[first.row, `${first.metric}, ${first.unit}`, ...cells],
    ...[
      figure(ratio),
      bound(contract, 'must', { ratio, value: muster?.median }),
      bound(contract, 'reach', { ratio, value: muster?.median }),
    ],
  ].join(' | ')} |`;
};

const bound = (
  contract: ContractLine | undefined,
  kind: 'must' | 'reach',
  { ratio, value = Number.NaN }: { ratio: number; value: number | undefined },
): string => {
  const limit = contract?.[kind];
  if (contract === undefined || limit === undefined) return '';
  const measured = contract.peer === undefined ? value : ratio;
  const text = `${contract.isLeast ? '≥' : '≤'} ${limit}${contract.peer === undefined ? '' : ' ×'}`;
  if (!Number.isFinite(measured)) return `${text}: not run`;
  return `${text}: ${(contract.isLeast ? measured >= limit : measured <= limit) ? 'met' : '**missed**'}`;
};

const faultsOf = (rows: readonly BenchRow[]): string[] => {
  const faults = new Set(
    rows.flatMap(({ row, contestant, fault }) => (fault === undefined ? [] : [`${row}, ${contestant}: ${fault}`])),
  );
  return [
    '',
    faults.size === 0
      ? 'Nothing was missing, doubled or out of order, rejected or closed in any round.'
      : 'Rounds without a result:',
    ...[...faults].map((fault) => `- ${fault}`),
  ];
};
