import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { median } from './cpu.ts';
import { type BenchRow, figure, keyOf } from './rows.ts';

/** The regression check: this checkout beside another revision. */
interface AgainstOptions {
  readonly revision: string;
  readonly names: readonly string[];
  /** Least rounds; rows that are undecided have up to {@link MAX_ROUNDS}. */
  readonly rounds: number;
  /** One round of these benchmarks with the services of a checkout; undefined is this checkout. */
  readonly measure: (names: readonly string[], checkout: string | undefined) => Promise<BenchRow[]>;
  /** Of progress. */
  readonly log: (line: string) => void;
  /** Of the result. */
  readonly print: (line: string) => void;
}

/** A row that is this much worse than before has a regression. */
const LIMIT = 1.05;
/** Below it no difference is significant: with six pairs, all on one side have a chance of 3 %. */
const MIN_ROUNDS = 6;
const MAX_ROUNDS = 15;
/** Latencies and rates follow the load of the machine; figures of CPU and memory belong to the process. */
const JUDGED = /^(CPU|Redis|memory)/;

type Outcome = 'ok' | 'regression' | 'undecided';

/** One figure of both revisions. A ratio above 1 is worse than before. */
export interface Comparison {
  readonly key: string;
  readonly before: number;
  readonly after: number;
  readonly unit: string;
  readonly ratio: number;
  /** Bounds of the median of all ratios, with a confidence of about 95 %. */
  readonly bounds: readonly [number, number];
  readonly rounds: number;
  readonly outcome: Outcome;
}

/** Measures both revisions in turns and prints the table. True if no row has a regression and none is undecided. */
export const benchAgainst = async ({
  revision,
  names,
  rounds,
  measure,
  log,
  print,
}: AgainstOptions): Promise<boolean> => {
  const checkout = checkoutOf(revision, log);
  const before: BenchRow[][] = [];
  const after: BenchRow[][] = [];
  let wanted = names;
  let rows: readonly Comparison[] = [];
  for (let round = 1; round <= MAX_ROUNDS && wanted.length > 0; round += 1) {
    log(`round ${round} of both revisions: ${wanted.join(', ')}`);
    // Each revision is first in every other round: the machine may become slower or faster meanwhile.
    for (const isBefore of round % 2 === 0 ? [true, false] : [false, true]) {
      const measured = await measure(wanted, isBefore ? checkout : undefined);
      (isBefore ? before : after).push(measured.filter(isJudged));
    }
    rows = compareRounds(before, after);
    if (round >= Math.max(rounds, MIN_ROUNDS)) wanted = names.filter((name) => isUndecided(rows, name));
  }
  for (const line of printComparisons(rows, revision)) print(line);
  return rows.length > 0 && rows.every(({ outcome }) => outcome === 'ok');
};

const isJudged = ({ contestant, metric, fault }: BenchRow): boolean =>
  contestant.startsWith('muster') && JUDGED.test(metric) && fault === undefined;

const isUndecided = (rows: readonly Comparison[], bench: string): boolean =>
  rows.some(({ key, outcome }) => key.startsWith(`${bench}\n`) && outcome === 'undecided');

/**
 * Compares rounds in pairs. A regression: the median ratio is beyond the limit, and even the lower bound of the median is
 * above 1. Undecided: the median is beyond the limit, but the difference may be noise. A row without rounds of both is
 * undecided, too: nothing is known about it.
 */
export const compareRounds = (
  before: readonly (readonly BenchRow[])[],
  after: readonly (readonly BenchRow[])[],
): Comparison[] => {
  const first = new Map([...before, ...after].flat().map((row) => [keyOf(row), row]));
  return [...first].map(([key, { unit, lowerIsBetter }]) => {
    const pairs = before.flatMap((rows, round) => {
      const [old, now] = [medianOf(rows, key), medianOf(after[round] ?? [], key)];
      return Number.isFinite(old) && Number.isFinite(now) ? [{ old, now }] : [];
    });
    const ratios = pairs.map(({ old, now }) => (lowerIsBetter ? now / old : old / now)).sort((a, b) => a - b);
    const ratio = median(ratios);
    const bounds = boundsOfMedian(ratios);
    const isBeyond = !(ratio <= LIMIT);
    const outcome = isBeyond ? (bounds[0] > 1 && ratios.length >= MIN_ROUNDS ? 'regression' : 'undecided') : 'ok';
    return {
      ...{ key, unit, ratio, bounds, outcome, rounds: ratios.length },
      ...{ before: median(pairs.map(({ old }) => old)), after: median(pairs.map(({ now }) => now)) },
    };
  });
};

/** The median of a figure within a round, which may have several slices; NaN without one. */
const medianOf = (rows: readonly BenchRow[], key: string): number =>
  median(rows.filter((row) => keyOf(row) === key).map(({ value }) => value));

/** Order statistics around the median: the binomial interval with a confidence of about 95 %. NaN without values. */
const boundsOfMedian = (sorted: readonly number[]): readonly [number, number] => {
  const reach = 0.98 * Math.sqrt(sorted.length);
  const low = Math.max(0, Math.floor(sorted.length / 2 - reach));
  return [sorted[low] ?? Number.NaN, sorted[sorted.length - 1 - low] ?? Number.NaN];
};

/** The table as Markdown, and the rows that fail. */
export const printComparisons = (rows: readonly Comparison[], revision: string): string[] => {
  const failed = rows.filter(({ outcome }) => outcome !== 'ok');
  const name = ({ key }: Comparison) => key.split('\n').join(', ');
  return [
    '',
    `| figure | ${revision} | this checkout | ratio | bounds | rounds | outcome |`,
    '| --- | --: | --: | --: | --: | --: | --- |',
    ...rows.map((row) => {
      const { before, after, unit, ratio, bounds, rounds, outcome } = row;
      const values = [`${figure(before)} ${unit}`, `${figure(after)} ${unit}`, ratio.toFixed(3)];
      const mark = outcome === 'ok' ? outcome : `**${outcome}**`;
      return `| ${[name(row), ...values, bounds.map((one) => one.toFixed(3)).join('–'), rounds, mark].join(' | ')} |`;
    }),
    '',
    failed.length === 0
      ? `${rows.length} figures: none is more than 5 % worse.`
      : `${failed.length} of ${rows.length} figures are more than 5 % worse, or undecided:`,
    ...failed.map((row) => `- ${name(row)}: ${row.outcome}, ratio ${row.ratio.toFixed(3)}`),
    ...(rows.length === 0 ? ['Nothing was measured: no row of Muster has a figure of CPU or memory.'] : []),
  ];
};

const ROOT = join(import.meta.dirname, '../..');

/** A worktree of the revision with its packages, kept for the next run. The store of pnpm has them: no network is used. */
const checkoutOf = (revision: string, log: (line: string) => void): string => {
  const commit = git('rev-parse', '--verify', `${revision}^{commit}`).trim();
  const directory = join(ROOT, '.muster', 'against', commit.slice(0, 12));
  if (!existsSync(join(directory, 'package.json'))) {
    log(`making a worktree of ${revision} (${commit.slice(0, 12)})`);
    mkdirSync(join(directory, '..'), { recursive: true });
    git('worktree', 'prune');
    git('worktree', 'add', '--detach', directory, commit);
  }
  const pnpm = join(ROOT, '.muster', 'toolchain', 'node_modules', 'pnpm', 'bin', 'pnpm.mjs');
  const args = [pnpm, 'install', '--offline', '--frozen-lockfile', '--ignore-scripts', '--reporter=silent'];
  execFileSync(process.execPath, args, { cwd: directory, env: { ...process.env, CI: 'true' }, stdio: 'inherit' });
  // The console is not measured: its build may be that of this checkout.
  const build = join('services', 'health-aggregator', 'dist');
  if (!existsSync(join(directory, build)) && existsSync(join(ROOT, build))) {
    cpSync(join(ROOT, build), join(directory, build), { recursive: true });
  }
  return directory;
};

const git = (...args: string[]): string => execFileSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' });
