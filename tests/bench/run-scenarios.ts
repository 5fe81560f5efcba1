import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CONTESTANTS,
  type Contestant,
  type ContestantName,
  createContestant,
  type ServerUnderTest,
} from './contestants.ts';
import { cpuSecondsOf, rssBytesOf } from './cpu.ts';
import type { Environment } from './environment.ts';
import { type LoadAnswer, loadFaultOf, type SendToLoad, startLoadGenerator } from './load-generator.ts';
import { type BenchRow, NO_RESULT } from './rows.ts';

/** A figure and its unit; of `/s`, more is better. */
type Figures = Readonly<Record<string, readonly [value: number, unit: string]>>;

/** One scenario with one contestant. */
export interface ScenarioRun {
  readonly contestant: ContestantName;
  readonly members: number;
  /** Seconds of load for each row. */
  readonly seconds: number;
  readonly send: SendToLoad;
  /** True when the workload was selected. */
  isWanted(row: string): boolean;
  /** Connects all members, and the publishers where they are elsewhere. */
  connect(): Promise<void>;
  /** Runs a command and adds up the CPU of the server and of Redis. */
  measure(
    command: string,
    options?: Readonly<Record<string, number>>,
    more?: { readonly settleS?: number },
  ): Promise<{ readonly answer: LoadAnswer; readonly serverUs: number; readonly redisUs: number }>;
  /** Resident memory of the server. */
  bytes(): number;
  /** Measures the other process from now on. Returns the process id of the first. */
  takeOver(): number;
  /** Port of the process that is measured. */
  port(): number;
  add(row: string, answer: LoadAnswer, figures: Figures): void;
}

/** Workloads that share their servers and connections. */
export interface Scenario {
  readonly bench: string;
  /** Names of the workloads. */
  readonly rows: readonly string[];
  readonly contestants: readonly ContestantName[];
  readonly members: number;
  readonly groups: number;
  /** Groups of each member. */
  readonly perMember?: number;
  /** The second process: publications come from it, or it takes over when the first is killed. */
  readonly replica?: 'publishes' | 'takes over';
  /** Rounds that are enough, where one takes minutes. */
  readonly maxRounds?: number;
  measure(run: ScenarioRun): Promise<void>;
}

export interface RunOptions {
  readonly environment: Environment;
  readonly rounds: number;
  readonly seconds: number;
  /** Names of contestants; empty for all. */
  readonly only: readonly string[];
  /** Part of the names of the workloads; empty for all. */
  readonly workload: string;
  readonly log: (line: string) => void;
}

/** A server is still busy with its start when it is ready. */
const SETTLE_MS = 600;

/** Rounds of all scenarios, in which the contestants take turns; each has a process of its own, freshly started. */
export const runScenarios = async (all: readonly Scenario[], options: RunOptions): Promise<BenchRow[]> => {
  const { environment, only, workload } = options;
  const contestants = CONTESTANTS.filter((name) => only.length === 0 || only.includes(name)).map((name) => ({
    name,
    contestant: createContestant(name, environment),
  }));
  const wanted = all.filter(({ rows }) => rows.some((row) => row.includes(workload)));
  const results: BenchRow[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const scenario of wanted.filter(({ maxRounds = round }) => round <= maxRounds)) {
      for (const { name, contestant } of contestants.filter((each) => scenario.contestants.includes(each.name))) {
        const rows =
          contestant === undefined
            ? scenario.rows.map((row) => withoutResult(scenario, row, name, 'not run'))
            : await runOnce(scenario, contestant, { ...options, tag: `r${round}s${wanted.indexOf(scenario)}` });
        results.push(...rows);
        for (const line of describeRows(rows)) options.log(`round ${round}: ${line}`);
      }
    }
  }
  return results;
};

const withoutResult = ({ bench }: Scenario, row: string, contestant: string, fault: string): BenchRow => ({
  ...{ bench, row, contestant, metric: NO_RESULT, value: Number.NaN, unit: '', lowerIsBetter: true, fault },
});

const describeRows = (rows: readonly BenchRow[]): string[] =>
  [...Map.groupBy(rows, ({ row }) => row)].map(([row, [first, ...others]]) => {
    const figures = [first, ...others].flatMap((one) =>
      one === undefined || Number.isNaN(one.value)
        ? []
        : [`${one.metric} ${Number(one.value.toPrecision(3))} ${one.unit}`],
    );
    const fault = first?.fault === undefined ? '' : `: NO RESULT, ${first.fault}`;
    return `${row}, ${first?.contestant}: ${figures.join(', ')}${fault}`;
  });

const runOnce = async (
  scenario: Scenario,
  contestant: Contestant,
  options: RunOptions & { readonly tag: string },
): Promise<BenchRow[]> => {
  const rows: BenchRow[] = [];
  try {
    await measureOnce(scenario, contestant, { ...options, rows });
  } catch (error) {
    const failed = scenario.rows.filter(
      (row) => row.includes(options.workload) && rows.every((one) => one.row !== row),
    );
    rows.push(...failed.map((row) => withoutResult(scenario, row, contestant.name, (error as Error).message)));
  }
  return rows.filter(({ row }) => row.includes(options.workload));
};

const measureOnce = async (
  { bench, members, groups, perMember = 1, replica, measure }: Scenario,
  contestant: Contestant,
  { environment, seconds, workload, tag, rows, log }: RunOptions & { readonly tag: string; readonly rows: BenchRow[] },
): Promise<void> => {
  const tokensFile = await contestant.tokensFile(members);
  await using first = await contestant.start();
  await using second =
    replica === undefined ? undefined : await contestant.start({ isBesideLoad: replica === 'publishes' });
  await sleep(SETTLE_MS);
  const { dialect, path, header } = contestant;
  using load = await startLoadGenerator(environment.loadProgram, {
    ...{ port: first.port, publishPort: second?.port, dialect, path, header, tokensFile },
    ...{ members, groups, perMember, prefix: `${tag}g` },
  });
  let server: ServerUnderTest = first;
  const used = () => [
    ...[serverSeconds(environment, server.pid), cpuSecondsOf(environment.redisPid)],
    ...[cpuSecondsOf(load.pid), performance.now() / 1_000],
  ];
  await measure({
    ...{ contestant: contestant.name, members, seconds, send: load.send, isWanted: (row) => row.includes(workload) },
    async connect() {
      await load.send('connect');
      if (replica === 'publishes') await load.send('publishers');
      await load.send('wait', { seconds: 0.5 });
    },
    async measure(command, values, { settleS } = {}) {
      const before = used();
      const answer = await load.send(command, values);
      if (settleS !== undefined) await load.send('wait', { seconds: settleS });
      const [serverUs = 0, redisUs = 0, loadUs = 0, elapsedUs = 0] = used().map(
        (after, index) => (after - (before[index] ?? 0)) * 1e6,
      );
      const [serverShare, loadShare] = [serverUs, loadUs].map((us) => ((us / elapsedUs) * 100).toFixed(0));
      log(`  ${contestant.name}, ${command}: server at ${serverShare} % of a core, load at ${loadShare} %`);
      return { answer, serverUs, redisUs };
    },
    bytes: () => rssBytesOf(server.pid),
    takeOver() {
      if (second !== undefined) server = second;
      return first.pid;
    },
    port: () => server.port,
    add(row, answer, figures) {
      const fault = loadFaultOf(answer);
      rows.push(
        ...Object.entries(figures).map(([metric, [value, unit]]) => ({
          ...{ bench, row, contestant: contestant.name, metric, value, unit, lowerIsBetter: unit !== '/s' },
          ...(fault === undefined ? {} : { fault }),
        })),
      );
    },
  });
};

/** CPU of the server, with the network work that the kernel does for it in a thread of its core. */
const serverSeconds = ({ serverCore }: Environment, pid: number): number =>
  cpuSecondsOf(pid) + (serverCore.length === 0 || softirqThread === undefined ? 0 : cpuSecondsOf(softirqThread));

const softirqThread = readdirSync('/proc')
  .filter((name) => /^\d+$/.test(name))
  .map(Number)
  .find((pid) => nameOfProcess(pid) === 'ksoftirqd/0');

function nameOfProcess(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
