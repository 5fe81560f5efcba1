import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startFleet } from '@muster/fleet/fleet';
import { cpuSecondsOf, rssBytesOf } from './cpu.ts';
import { type Contestant, FLEET_ENV, startContestants } from './fanout/contestants.ts';
import { startSwarm } from './fanout/swarm.ts';
import { type FanoutResult, type IdleRow, isWhole, type Measured } from './fanout/table.ts';
import { IDLE_SIZES, WORKLOADS, type Workload } from './fanout/workloads.ts';

/** How the benchmark is run. */
export interface FanoutOptions {
  readonly rounds: number;
  /** Seconds of load per row. */
  readonly seconds: number;
  /** Leaves out what needs ten thousand connections. */
  readonly isQuick: boolean;
  /** Names of contestants; empty for all. */
  readonly only: readonly string[];
  /** Part of the name of the workloads to run; empty for all. */
  readonly workload: string;
  readonly log: (line: string) => void;
}

const RAW_DIRECTORY = '.muster/bench';
/** For connections to come to rest before their memory is read. */
const SETTLE_MS = 3_000;
const QUICK_LIMIT = 1_000;

/**
 * Fan-out of one process: Muster's gateway with history, recovery and gap checks, beside Socket.IO, plain `ws`, and
 * bare sockets. Contestants take turns within each workload. A row with a missing or duplicate delivery is reported as
 * a failure and left out of the medians.
 */
export const benchFanout = async (options: FanoutOptions): Promise<FanoutResult> => {
  await using stack = new AsyncDisposableStack();
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  const loadBefore = loadavg()[0] ?? 0;
  const fleet = stack.use(
    await startFleet({ env: { ...env, ...FLEET_ENV }, dataDir, gateways: 2, port: 0, basePort: 0 }),
  );
  const contestants = await startContestants(fleet, { stack, only: options.only });
  const workloads = WORKLOADS.filter(
    ({ name, groups, membersPerGroup }) =>
      name.includes(options.workload) && (!options.isQuick || groups * membersPerGroup <= QUICK_LIMIT),
  );
  const idle = ['', 'idle'].includes(options.workload) ? await measureIdle(contestants, options) : [];
  const rows: Measured[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const shape of shapesOf(workloads)) {
      for (const contestant of contestants) {
        rows.push(...(await measureShape(contestant, shape, { ...options, round })));
      }
    }
  }
  const result = { rows, idle, rounds: options.rounds, seconds: options.seconds, loadBefore };
  mkdirSync(RAW_DIRECTORY, { recursive: true });
  const file = join(RAW_DIRECTORY, `fanout-${new Date().toISOString().replaceAll(':', '-')}.json`);
  writeFileSync(file, JSON.stringify(result, null, 1));
  options.log(`raw results: ${file}`);
  return result;
};

/** Workloads that can share their connections. */
const shapesOf = (workloads: readonly Workload[]): Workload[][] => {
  const shapes = new Map<string, Workload[]>();
  for (const one of workloads) {
    const key = `${one.groups} ${one.membersPerGroup} ${one.from}`;
    shapes.set(key, [...(shapes.get(key) ?? []), one]);
  }
  return [...shapes.values()];
};

const measureShape = async (
  contestant: Contestant,
  shape: readonly Workload[],
  { seconds, log, round }: FanoutOptions & { readonly round: number },
): Promise<Measured[]> => {
  const { port, dialect, pid, name, otherPort } = contestant;
  const workloads = shape.filter(({ only }) => only?.includes(name) ?? true);
  const [first] = workloads;
  const isRemote = first?.from === 'another replica';
  if (first === undefined || (isRemote && otherPort === undefined)) return [];
  const publishAt = isRemote && otherPort !== undefined ? { publishPort: otherPort } : {};
  using swarm = await startSwarm({ port, dialect, groups: first.groups, ...publishAt });
  const rows: Measured[] = [];
  try {
    await swarm.connect(first.membersPerGroup);
    for (const { load, name: workload } of workloads) {
      const before = cpuSecondsOf(pid);
      const outcome = await swarm.run({ ...load, seconds });
      const row = { workload, contestant: name, cpuS: cpuSecondsOf(pid) - before, ...outcome };
      rows.push(row);
      log(`round ${round}: ${sayMeasured(row)}`);
      // Members that were lost, or are still behind, would spoil the next workload.
      if (!isWhole(row)) break;
    }
  } catch (error) {
    log(`round ${round}: ${first.name}, ${name}: FAILED: ${error instanceof Error ? error.message : error}`);
  }
  return rows;
};

/** Memory of connections that are in an idle group, and the cost of their handshakes. */
const measureIdle = async (contestants: readonly Contestant[], { isQuick, log }: FanoutOptions): Promise<IdleRow[]> => {
  const rows: IdleRow[] = [];
  for (const { name, pid, port, dialect } of contestants) {
    using swarm = await startSwarm({ port, dialect, groups: 1 });
    const rssBefore = rssBytesOf(pid);
    const cpuBefore = cpuSecondsOf(pid);
    for (const size of IDLE_SIZES) {
      if (isQuick && size > QUICK_LIMIT) break;
      await swarm.connect(size);
      const handshakeUs = ((cpuSecondsOf(pid) - cpuBefore) / size) * 1e6;
      await sleep(SETTLE_MS);
      const row = { contestant: name, size, handshakeUs, bytesEach: (rssBytesOf(pid) - rssBefore) / size };
      rows.push(row);
      log(`${name}: ${size} idle, ${(row.bytesEach / 1024).toFixed(1)} KB and ${handshakeUs.toFixed(0)} µs CPU each`);
    }
  }
  return rows;
};

const sayMeasured = (row: Measured): string =>
  `${row.workload}, ${row.contestant}: ${(row.delivered / row.seconds).toFixed(0)} deliveries/s, ` +
  `${((row.cpuS / row.delivered) * 1e6).toFixed(2)} CPU s per million, p50 ${row.p50.toFixed(1)} p99 ${row.p99.toFixed(1)} ms, ` +
  `server at ${((row.cpuS / row.seconds) * 100).toFixed(0)} %, load process at ${((row.ownCpuS / row.seconds) * 100).toFixed(0)} %, ` +
  `${isWhole(row) ? '' : 'FAILED: '}${row.expected - row.delivered} missing, ${row.duplicates} twice or out of order`;
