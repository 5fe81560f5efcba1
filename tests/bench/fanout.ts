import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Fleet, startFleet } from '@muster/fleet/fleet';
import { cpuSecondsOf, median } from './cpu.ts';
import { type Dialect, type SwarmJob, type SwarmOutcome, startSwarm } from './fanout/swarm.ts';

/** One server that fans out. */
interface Contestant {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly dialect: Dialect;
}

/** One shape of load. */
interface Workload {
  readonly name: string;
  readonly groups: number;
  readonly membersPerGroup: number;
  readonly rate: number;
}

/** One line of the result: medians over the rounds. */
export interface FanoutRow {
  readonly workload: string;
  readonly contestant: string;
  readonly deliveriesPerSecond: number;
  /** Server CPU seconds (user and system) per million deliveries. */
  readonly cpuPerMillion: number;
  readonly p50: number;
  readonly p99: number;
}

const SECONDS = 5;
const UPGRADED = '101 Switching';
const WORKLOADS: readonly Workload[] = [
  { name: '1 × 1,000, one in flight', groups: 1, membersPerGroup: 1_000, rate: 0 },
  { name: '1 × 1,000 at 50/s', groups: 1, membersPerGroup: 1_000, rate: 50 },
  { name: '100 × 10, one in flight each', groups: 100, membersPerGroup: 10, rate: 0 },
];

/** Fan-out of one process: Muster's gateway with history and gap checks on, beside Socket.IO, plain `ws`, and bare sockets. */
export const benchFanout = async ({
  rounds,
  say,
}: {
  rounds: number;
  say: (line: string) => void;
}): Promise<FanoutRow[]> => {
  await using stack = new AsyncDisposableStack();
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  const fleet = stack.use(
    await startFleet({ env: { ...env, LOG_LEVEL: 'warn' }, dataDir, gateways: 1, port: 0, basePort: 0 }),
  );
  const contestants = await contestantsOf(fleet, stack);
  const measured = new Map<string, (SwarmOutcome & { cpuPerMillion: number })[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const workload of WORKLOADS) {
      for (const contestant of contestants) {
        const outcome = await measure(contestant, workload);
        const name = `${workload.name}|${contestant.name}`;
        measured.set(name, [...(measured.get(name) ?? []), outcome]);
        say(
          `round ${round}: ${workload.name}, ${contestant.name}: ${(outcome.delivered / outcome.seconds).toFixed(0)} deliveries/s, ` +
            `${outcome.cpuPerMillion.toFixed(2)} CPU s per million, p99 ${outcome.p99.toFixed(1)} ms ` +
            `(load process at ${((outcome.ownCpuS / outcome.seconds) * 100).toFixed(0)} % of a core, ${outcome.expected - outcome.delivered} missing)`,
        );
      }
    }
  }
  return [...measured].map(([name, all]) => {
    const [workload = '', contestant = ''] = name.split('|');
    const of = (pick: (one: SwarmOutcome & { cpuPerMillion: number }) => number) => median(all.map(pick));
    return {
      ...{ workload, contestant },
      deliveriesPerSecond: of((one) => one.delivered / one.seconds),
      cpuPerMillion: of((one) => one.cpuPerMillion),
      p50: of((one) => one.p50),
      p99: of((one) => one.p99),
    };
  });
};

const measure = async ({ pid, port, dialect }: Contestant, { groups, membersPerGroup, rate }: Workload) => {
  const job: SwarmJob = { port, dialect, groups, membersPerGroup, rate, seconds: SECONDS };
  const swarm = startSwarm(job);
  try {
    await swarm.ready;
    const before = cpuSecondsOf(pid);
    const outcome = await swarm.run();
    const cpu = cpuSecondsOf(pid) - before;
    if (outcome.delivered !== outcome.expected)
      throw new Error(`${outcome.expected - outcome.delivered} deliveries are missing`);
    return { ...outcome, cpuPerMillion: (cpu / outcome.delivered) * 1e6 };
  } finally {
    swarm.stop();
  }
};

const contestantsOf = async (fleet: Fleet, stack: AsyncDisposableStack): Promise<Contestant[]> => {
  const about = fleet.describe();
  const [gateway] = about.gateways;
  if (gateway === undefined) throw new Error('the fleet has no gateway');
  const token = await tokenFor(about);
  const start = async (name: string, file: string, dialect: Dialect): Promise<Contestant> => {
    const child: ChildProcess = fork(fileURLToPath(new URL(file, import.meta.url)), [about.redisUrl], {
      env: { ...process.env, NODE_ENV: 'production' },
    });
    stack.defer(() => void child.kill());
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    return { name, port, dialect, pid: child.pid ?? 0 };
  };
  return [
    {
      name: 'muster',
      pid: gateway.pid,
      port: Number(new URL(gateway.url).port),
      dialect: musterDialect(token),
    },
    await start('socket.io', './fanout/socket-io-server.ts', SOCKET_IO),
    await start('ws', './fanout/ws-server.ts', PLAIN_WS),
    await start('bare sockets', './fanout/raw-server.ts', BARE),
  ];
};

const tokenFor = async (about: ReturnType<Fleet['describe']>): Promise<string> => {
  const answer = await fetch(`${about.publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${about.serviceApiKey}`, 'content-type': 'application/json' },
    body: '{"user_id":"bench","transport":"bearer"}',
  });
  return ((await answer.json()) as { token: string }).token;
};

const musterDialect = (token: string): Dialect => ({
  path: '/connection/websocket',
  headers: {},
  hello: [
    {
      after: UPGRADED,
      send: `{"id":1,"connect":{"token":"${token}"}}\n{"id":2,"subscribe":{"channel":"GROUP"}}`,
    },
  ],
  welcome: '"subscribe":{',
  publish: '{"id":SEQUENCE,"publish":{"channel":"GROUP","data":PAYLOAD}}',
});

const SOCKET_IO: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  headers: {},
  hello: [
    { after: '0{"sid"', send: '40' },
    { after: '40{"sid"', send: '42["join","GROUP"]' },
  ],
  welcome: '42["joined"]',
  publish: '42["publish","GROUP",PAYLOAD]',
};

const PLAIN_WS: Dialect = {
  path: '/?group=GROUP',
  headers: {},
  hello: [{ after: UPGRADED, send: 'hello' }],
  welcome: 'welcome',
  publish: 'PAYLOAD',
};
const BARE: Dialect = {
  path: '/?group=GROUP',
  headers: {},
  hello: [],
  welcome: UPGRADED,
  publish: 'PAYLOAD',
};

/** The result as lines of a table, and as ratios. */
export const tellFanout = (rows: readonly FanoutRow[]): string[] => {
  const mine = rows.filter(({ contestant }) => contestant === 'muster');
  return [
    '| workload | contestant | deliveries/s | CPU s per million | p50 ms | p99 ms |',
    '| --- | --- | --: | --: | --: | --: |',
    ...rows.map(
      (row) =>
        `| ${row.workload} | ${row.contestant} | ${row.deliveriesPerSecond.toFixed(0)} | ${row.cpuPerMillion.toFixed(2)} | ${row.p50.toFixed(1)} | ${row.p99.toFixed(1)} |`,
    ),
    '',
    ...rows
      .filter(({ contestant }) => contestant !== 'muster')
      .map((peer) => {
        const own = mine.find(({ workload }) => workload === peer.workload);
        const ratio = (pick: (row: FanoutRow) => number) =>
          (own === undefined ? Number.NaN : pick(own) / pick(peer)).toFixed(2);
        return `${peer.workload}: CPU ${ratio((row) => row.cpuPerMillion)} ×, p99 ${ratio((row) => row.p99)} × ${peer.contestant}`;
      }),
  ];
};
