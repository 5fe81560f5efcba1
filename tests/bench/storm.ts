import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LocalFleet, startFleet } from '@muster/fleet/fleet';
import { readMetric } from '../observability/read-metric.ts';
import { cpuSecondsOf, median } from './cpu.ts';
import { FLEET_ENV } from './fanout/contestants.ts';
import { type Storm, type StormCounts, startStorm } from './storm/storm.ts';

/** Causes of a mass disconnect, and the gateway to which clients reconnect. */
const CASES = {
  'sockets cut, back at the same gateway': { cut: true, survivor: 0 },
  'gateway killed, back at the other one': { cut: false, survivor: 1 },
} as const;
type Case = keyof typeof CASES;

/** Result of one mass disconnect. */
export interface StormRow extends StormCounts {
  readonly what: Case;
  readonly clients: number;
  /** Commands that the gateway sent to Redis for each client, those for publications apart. */
  readonly commandsEach: number;
  /** CPU of the gateway for each client, µs. */
  readonly cpuUsEach: number;
}

export interface StormOptions {
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly log: (line: string) => void;
}

const CLIENTS = 5_000;
const QUICK_CLIENTS = 500;
const MEMBERS_PER_GROUP = 50;
const PER_CLIENT = 5;
const PUBLICATIONS_PER_S = 100;
const SESSIONS_AT_ONCE = 16;
const SESSION_TRIES = 3;
/** Time of publishing before the disconnect and after the reconnect. */
const AROUND_MS = 2_000;
const TIMEOUT_MS = 180_000;
/** Publications that may be refused in one storm, on a machine that is too busy. */
const MAX_FAILURES = 1_000;

/**
 * Disconnects all clients of a gateway at once while publications continue, and waits until they have reconnected: each
 * with its own session, five groups, and its positions. All retry at once, the worst case.
 */
export const benchStorm = async (options: StormOptions): Promise<StormRow[]> => {
  const rows: StormRow[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const what of Object.keys(CASES) as Case[]) {
      const row = await stormOnce(what, options);
      rows.push(row);
      options.log(
        `round ${round}: ${what}: 99 % of ${row.clients} back after ${row.p99.toFixed(0)} ms, ${row.lost} lost, ${row.duplicates} twice, ` +
          `${row.unrecovered} not recovered, ${row.retries} retries, ${row.commandsEach.toFixed(2)} Redis commands and ${row.cpuUsEach.toFixed(0)} µs CPU each`,
      );
    }
  }
  mkdirSync('.muster/bench', { recursive: true });
  const file = `.muster/bench/storm-${new Date().toISOString().replaceAll(':', '-')}.json`;
  writeFileSync(file, JSON.stringify(rows, null, 1));
  options.log(`raw results: ${file}`);
  return rows;
};

const stormOnce = async (what: Case, { isQuick }: StormOptions): Promise<StormRow> => {
  await using stack = new AsyncDisposableStack();
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  const fleet = stack.use(
    await startFleet({ env: { ...env, ...FLEET_ENV }, dataDir, gateways: 2, port: 0, basePort: 0 }),
  );
  const { gateways } = fleet.describe();
  const [first, second] = gateways;
  const { cut, survivor } = CASES[what];
  const target = survivor === 0 ? first : second;
  if (first === undefined || second === undefined || target === undefined) throw new Error('too few gateways');

  const clients = isQuick ? QUICK_CLIENTS : CLIENTS;
  const groups = (clients * PER_CLIENT) / MEMBERS_PER_GROUP;
  const tokens = await createTokens(fleet, clients);
  const storm = stack.use(startStorm());
  const job = { port: portOf(first.url), tokens, groups, perClient: PER_CLIENT };
  await storm.ask({ is: 'connect', job });

  const publisher = startPublisher(fleet, second.url, groups);
  await sleep(AROUND_MS);
  const before = await stateOf(target, publisher.published());
  await drop(fleet, storm, { cut, port: portOf(target.url) });
  await storm.ask({ is: 'resumed', share: 1, timeoutMs: TIMEOUT_MS });
  const after = await stateOf(target, publisher.published());
  await sleep(AROUND_MS);
  const counts = await storm.ask({ is: 'heard', counts: await publisher.stop(), timeoutMs: TIMEOUT_MS });
  // The other gateway publishes.
  const published = survivor === 1 ? after.published - before.published : 0;
  return {
    ...{ what, clients, ...counts },
    commandsEach: (after.commands - before.commands - published) / clients,
    cpuUsEach: ((after.cpuS - before.cpuS) / clients) * 1e6,
  };
};

const drop = async (fleet: LocalFleet, storm: Storm, { cut, port }: { cut: boolean; port: number }) => {
  await storm.ask({ is: 'drop', port, cut });
  if (!cut) fleet.kill('ws-gateway-1', 'SIGKILL');
};

const portOf = (url: string): number => Number(new URL(url).port);

const stateOf = async ({ pid, opsUrl }: { pid: number; opsUrl: string }, published: number) => ({
  commands: await readMetric(opsUrl, 'redis_client_command_duration_seconds_count'),
  cpuS: cpuSecondsOf(pid),
  published,
});

/** Each client has a session of its own. */
const createTokens = async (fleet: LocalFleet, count: number): Promise<string[]> => {
  const { publicUrl, serviceApiKey } = fleet.describe();
  const tokens: string[] = [];
  const createOne = async (triesLeft = SESSION_TRIES): Promise<void> => {
    try {
      const answer = await fetch(`${publicUrl}/v1/sessions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${serviceApiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({ user_id: `storm${tokens.length}`, transport: 'bearer' }),
      });
      if (!answer.ok) throw new Error(`no session: ${answer.status} ${await answer.text()}`);
      tokens.push(((await answer.json()) as { token: string }).token);
    } catch (error) {
      if (triesLeft === 0) throw error;
      await sleep(100);
      await createOne(triesLeft - 1);
    }
  };
  const worker = async (share: number): Promise<void> => {
    for (let made = 0; made < share; made += 1) await createOne();
  };
  const share = Math.ceil(count / SESSIONS_AT_ONCE);
  await Promise.all(Array.from({ length: SESSIONS_AT_ONCE }, () => worker(share)));
  return tokens.slice(0, count);
};

/** Publishes to all groups in turn, over the server API of a gateway that stays. */
const startPublisher = (fleet: LocalFleet, url: string, groups: number) => {
  const { serverApiKey } = fleet.describe();
  const counts = Array.from({ length: groups }, () => 0);
  let published = 0;
  let failures = 0;
  let isOver = false;
  /** True when it was accepted. A retry is safe: the idempotency key makes sure that it counts once. */
  const tell = async (group: number, s: number): Promise<boolean> => {
    try {
      const answer = await fetch(`${url}/api/publish`, {
        method: 'POST',
        headers: { 'X-API-Key': serverApiKey, 'content-type': 'application/json' },
        body: JSON.stringify({ channel: `storm${group}`, data: { s }, idempotency_key: `${group}-${s}` }),
      });
      const text = await answer.text();
      return answer.ok && !text.includes('"error"');
    } catch {
      // A connection that was kept alive and closed in the same moment.
      return false;
    }
  };
  const publish = async (group: number): Promise<void> => {
    const s = (counts[group] ?? 0) + 1;
    while (!(await tell(group, s))) {
      failures += 1;
      if (failures > MAX_FAILURES) throw new Error('publications are refused again and again');
      await sleep(50);
    }
    counts[group] = s;
    published += 1;
  };
  const run = async (): Promise<void> => {
    const begun = performance.now();
    for (let count = 0; !isOver; count += 1) {
      await publish(count % groups);
      const wait = begun + (count * 1_000) / PUBLICATIONS_PER_S - performance.now();
      if (wait > 0) await sleep(wait);
    }
  };
  const running = run();
  running.catch(() => {});
  return {
    published: () => published,
    /** Resolves with how many publications each group has had. */
    stop: async (): Promise<readonly number[]> => {
      isOver = true;
      await running;
      return counts;
    },
  };
};

/** The medians as Markdown. */
export const printStorm = (rows: readonly StormRow[]): string[] => [
  '| drop | clients | half back, ms | 99 % back, ms | all back, ms | lost | twice | not recovered | Redis commands each | gateway CPU each, µs |',
  '| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |',
  ...(Object.keys(CASES) as Case[]).map((what) => {
    const all = rows.filter((row) => row.what === what);
    const mid = (pick: (row: StormRow) => number) => median(all.map(pick));
    const sum = (pick: (row: StormRow) => number) => all.reduce((total, row) => total + pick(row), 0);
    const cells = [
      ...[what, mid((row) => row.clients)],
      ...[mid((row) => row.p50), mid((row) => row.p99), mid((row) => row.all)].map((ms) => ms.toFixed(0)),
      ...[sum((row) => row.lost), sum((row) => row.duplicates), sum((row) => row.unrecovered)],
      ...[mid((row) => row.commandsEach).toFixed(2), mid((row) => row.cpuUsEach).toFixed(0)],
    ];
    return `| ${cells.join(' | ')} |`;
  }),
];
