import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalFleet, startFleet } from '@muster/fleet/fleet';
import { Redis } from 'ioredis';
import { cpuSecondsOf, leaveServerCore, useServerCore } from './cpu.ts';
import { entryPointsOf } from './environment.ts';
import { type Job, type Outcome, runLoad, type Shot } from './load.ts';
import type { BenchRow } from './rows.ts';

/** A piece of work for one server, prepared anew for each round. */
interface Work {
  readonly contestant: string;
  readonly work: string;
  readonly pid: number;
  job(): Promise<Prepared>;
}

/** A job, and the seconds for which its load runs before. */
interface Prepared extends Job {
  readonly leadIn: number;
}

/** A server of the benchmark. */
interface Server {
  readonly pid: number;
  readonly origin: string;
}

/** The application without sessions. */
const EXPRESS = 'Express';
const SESSIONS = 500;
const CONNECTIONS = 16;
/** Slices of a round and their seconds: short, so that a busy moment of the machine meets every contestant. */
const SLICES = 2;
const SECONDS = 2;
/**
 * Unmeasured start of a slice, in which caches fill: memory keeps a session for 5 s, the other contestants take longer.
 */
const LEAD_IN_SECONDS = 0.7;
/** At this rate a session has three requests in 5 s, of which memory answers two. */
const MODERATE = { rate: 300, seconds: 5, leadIn: 2 };
/** Enough for V8 to optimise the path of a request. */
const WARM_UP_SECONDS = 2;
const DOOMED = 300;
const CREATES = 4_000;
const CLOSED = { connections: CONNECTIONS, seconds: SECONDS, leadIn: LEAD_IN_SECONDS };

/**
 * Sessions on one service process with real stores. `check` is what an application pays for each of its requests:
 * Muster's middleware beside express-session with connect-redis, in the same Express app, and that app without sessions.
 * The server that is measured has a core of its own (`taskset`), load and stores share the others. CPU counts in
 * nanoseconds of the scheduler. Every work runs once before the first round, unmeasured.
 */
export const benchSessions = async ({
  rounds,
  only,
  workload,
  checkout,
  log,
}: {
  readonly rounds: number;
  /** Names of contestants, with all their variants; empty for all. */
  readonly only: readonly string[];
  /** Checkout whose services and middleware are measured, instead of this checkout. */
  readonly checkout?: string | undefined;
  /** Measures only works that start with this text. */
  readonly workload: string;
  readonly log: (line: string) => void;
}): Promise<BenchRow[]> => {
  await using stack = new AsyncDisposableStack();
  if (!leaveServerCore()) log('the servers have no core of their own: taskset or a second core is missing');
  const fleet = stack.use(await ownFleet(stack, checkout));
  const works = (await worksOf(fleet, stack, checkout)).filter(
    ({ work, contestant }) =>
      work.startsWith(workload) && (only.length === 0 || only.some((name) => contestant.startsWith(name))),
  );
  const rows: BenchRow[] = [];
  for (const { pid } of works) useServerCore(pid);
  for (const one of works) {
    await measure({ ...one, job: async () => ({ ...(await one.job()), seconds: WARM_UP_SECONDS, leadIn: 0 }) });
  }
  for (let slice = 1; slice <= rounds * SLICES; slice += 1) {
    const ofSlice: BenchRow[] = [];
    for (const one of works) {
      const outcome = await measure(one);
      ofSlice.push(...rowsOf(one, outcome));
      const load = ((outcome.ownCpuS / outcome.seconds) * 100).toFixed(0);
      log(
        `slice ${slice}: ${one.work}, ${one.contestant}: ${outcome.done} in ${outcome.seconds.toFixed(1)} s, ` +
          `p99 ${outcome.p99.toFixed(1)} ms, ${outcome.cpuUs.toFixed(0)} µs CPU each (load process at ${load} % of a core)`,
      );
    }
    rows.push(...ofSlice, ...withoutExpress(ofSlice));
  }
  return rows;
};

const CPU_EACH = 'CPU each';

const rowsOf = (
  { contestant, work }: Work,
  { done, seconds, p50, p99, cpuUs }: Outcome & { cpuUs: number },
): BenchRow[] => {
  const row = { bench: 'sessions', row: work, contestant, lowerIsBetter: true };
  return [
    { ...row, metric: CPU_EACH, value: cpuUs, unit: 'µs' },
    { ...row, metric: 'rate', value: done / seconds, unit: 'per s', lowerIsBetter: false },
    { ...row, metric: 'p50', value: p50, unit: 'ms' },
    { ...row, metric: 'p99', value: p99, unit: 'ms' },
  ];
};

/** Cost of the session in a request: that of the request without that of Express in the same slice. */
const withoutExpress = (rows: readonly BenchRow[]): BenchRow[] => {
  const costs = rows.filter(({ metric }) => metric === CPU_EACH);
  return costs.flatMap((cost) => {
    const express = costs.find(({ row, contestant }) => row === cost.row && contestant === EXPRESS);
    if (express === undefined || cost === express) return [];
    return [{ ...cost, row: `${cost.row}, without Express`, value: cost.value - express.value }];
  });
};

const ownFleet = (stack: AsyncDisposableStack, checkout: string | undefined): Promise<LocalFleet> => {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  return startFleet({
    env: { ...env, LOG_LEVEL: 'warn', SESSION_LIMIT_PER_MINUTE: '0', KEY_LIMIT_PER_MINUTE: '0' },
    dataDir,
    gateways: 1,
    port: 0,
    basePort: 0,
    ...(checkout === undefined ? {} : { entryPoints: entryPointsOf(checkout) }),
  });
};

const measure = async ({ contestant, work, pid, job }: Work): Promise<Outcome & { cpuUs: number }> => {
  const { leadIn, ...prepared } = await job();
  if (leadIn > 0) await runLoad({ ...prepared, seconds: leadIn });
  const before = cpuSecondsOf(pid);
  const outcome = await runLoad(prepared);
  if (outcome.unexpected > 0) throw new Error(`${contestant}, ${work}: ${outcome.unexpected} × ${outcome.example}`);
  return { ...outcome, cpuUs: ((cpuSecondsOf(pid) - before) / outcome.done) * 1e6 };
};

const worksOf = async (
  fleet: LocalFleet,
  stack: AsyncDisposableStack,
  checkout: string | undefined,
): Promise<Work[]> => {
  const about = fleet.describe();
  const [member] = about.sessionServices;
  if (member === undefined) throw new Error('the fleet has no session service');
  const service: Server = { pid: member.pid, origin: member.url };
  const secrets = JSON.parse(readFileSync(join(fleet.dataDir, 'secrets.json'), 'utf8')) as Record<string, string>;
  const inApp = (cacheSize: number) =>
    startServer(stack, inCheckout('muster-app-server.ts', checkout), [
      ...[about.redisUrl, secrets['sessionSecrets'] ?? '', member.opsUrl, secrets['internalApiKey'] ?? ''],
      String(cacheSize),
    ]);
  const [app, appWithoutMemory, express] = await Promise.all([
    inApp(10_000),
    inApp(0),
    startServer(stack, inCheckout('express-session-server.ts', undefined), [about.redisUrl, 'x'.repeat(40)]),
  ]);
  const redis = new Redis(about.redisUrl);
  stack.defer(() => redis.disconnect());

  let made = 0;
  const create = (): Shot => ({
    ...{ method: 'POST', path: '/v1/sessions' },
    headers: { authorization: `Bearer ${about.serviceApiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: `user-${made++}`, transport: 'cookie' }),
  });
  const creates = (count: number) => Array.from({ length: count }, create);
  const cookies = await cookiesOf(service, creates(SESSIONS));
  const theirs = await cookiesOf(
    express,
    Array.from({ length: SESSIONS }, () => EXPRESS_CREATE),
  );
  const get = (path: string, of: readonly string[]) =>
    of.map((cookie): Shot => ({ method: 'GET', path, headers: { cookie } }));
  const end = (cookie: string): Shot => ({
    ...{ method: 'DELETE', path: '/v1/session' },
    headers: { cookie, origin: about.publicUrl, 'sec-fetch-site': 'same-origin' },
  });
  const job = (
    contestant: string,
    work: string,
    { pid, origin }: Server,
    shots: () => Promise<Shot[]> | Shot[],
    more: Partial<Prepared> = {},
  ): Work => ({
    ...{ contestant, work, pid },
    job: async () => ({ origin, ...CLOSED, expectedStatus: 200, shots: await shots(), ...more }),
  });
  return [
    job('muster', 'check', app, () => get('/check', cookies)),
    job('muster without memory', 'check', appWithoutMemory, () => get('/check', cookies)),
    job('express-session', 'check', express, () => get('/check', theirs)),
    job(EXPRESS, 'check', express, () => get('/bare', theirs)),
    job('muster', `check at ${MODERATE.rate}/s`, app, () => get('/check', cookies), MODERATE),
    job(
      'muster without memory',
      `check at ${MODERATE.rate}/s`,
      appWithoutMemory,
      () => get('/check', cookies),
      MODERATE,
    ),
    job('express-session', `check at ${MODERATE.rate}/s`, express, () => get('/check', theirs), MODERATE),
    job(EXPRESS, `check at ${MODERATE.rate}/s`, express, () => get('/bare', theirs), MODERATE),
    job('muster', 'create', service, () => creates(CREATES), { expectedStatus: 201 }),
    job('express-session', 'create', express, () => [EXPRESS_CREATE], { expectedStatus: 201 }),
    job('muster', 'GET /v1/session', service, () => get('/v1/session', cookies)),
    job(
      'muster',
      'GET /v1/session, cold',
      service,
      () => forgetSnapshots(redis).then(() => get('/v1/session', cookies)),
      { once: true, leadIn: 0 },
    ),
    job('muster', 'GET /v1/me/sessions', service, () => get('/v1/me/sessions', cookies)),
    job('muster', 'end', service, async () => (await cookiesOf(service, creates(DOOMED))).map(end), {
      once: true,
      leadIn: 0,
      expectedStatus: 204,
    }),
  ];
};

const EXPRESS_CREATE: Shot = {
  ...{ method: 'POST', path: '/create', headers: { 'content-type': 'application/json' } },
  body: '{"user_id":"user"}',
};

const inCheckout = (file: string, checkout: string | undefined): string =>
  checkout === undefined ? join(import.meta.dirname, file) : join(checkout, 'tests', 'bench', file);

const startServer = async (stack: AsyncDisposableStack, file: string, args: readonly string[]): Promise<Server> => {
  const child: ChildProcess = fork(file, [...args], {
    env: { ...process.env, NODE_ENV: 'production' },
  });
  stack.defer(() => void child.kill());
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { pid: child.pid ?? 0, origin: `http://127.0.0.1:${port}` };
};

/** Opens sessions a few at a time: the point is the sessions, not the rush. */
const cookiesOf = async ({ origin }: Server, shots: readonly Shot[]): Promise<string[]> => {
  const cookies: string[] = [];
  for (let from = 0; from < shots.length; from += CONNECTIONS) {
    const batch = shots.slice(from, from + CONNECTIONS);
    cookies.push(...(await Promise.all(batch.map((shot) => cookieFrom(origin, shot)))));
  }
  return cookies;
};

const cookieFrom = async (origin: string, { path, method, headers, body = '' }: Shot): Promise<string> => {
  const answer = await fetch(origin + path, { method, headers, body });
  const text = await answer.text();
  const cookie = answer.headers.get('set-cookie')?.split(';')[0];
  if (cookie === undefined) throw new Error(`no cookie: ${answer.status} ${text}`);
  return cookie;
};

const forgetSnapshots = async (redis: Redis): Promise<void> => {
  for await (const keys of redis.scanStream({ match: 'muster:s:*', count: 1_000 })) {
    if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
  }
};
