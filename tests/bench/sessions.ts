import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startFleet } from '@muster/fleet/fleet';
import { Redis } from 'ioredis';
import { cpuSecondsOf, median } from './cpu.ts';
import { type Job, type Outcome, runLoad, type Shot } from './load.ts';

/** One line of the result: medians over the rounds. Milliseconds, and CPU microseconds per operation of the server process. */
interface Row {
  readonly contestant: string;
  readonly work: string;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuUs: number;
}

const SESSIONS = 500;
const CONNECTIONS = 16;
const SECONDS = 3;
const COLD = 2_000;
const MODERATE_RATE = 300;

/** Sessions: check from the snapshot, check cold, create, end, list; beside express-session with connect-redis. */
export const benchSessions = async ({
  rounds,
  say,
}: {
  rounds: number;
  say: (line: string) => void;
}): Promise<Row[]> => {
  await using stack = new AsyncDisposableStack();
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const fleet = stack.use(
    await startFleet({
      env: {
        ...process.env,
        DATABASE_URL: '',
        REDIS_URL: '',
        LOG_LEVEL: 'warn',
        RATE_LIMITS: 'off',
        SESSION_RATE_LIMITS: 'off',
      },
      ...{ dataDir, gateways: 1, port: 0, basePort: 0 },
    }),
  );
  const about = fleet.describe();
  const service = about.sessionServices[0];
  if (service === undefined) throw new Error('no session service');
  const redis = new Redis(about.redisUrl);
  stack.defer(() => redis.disconnect());
  const other = fork(
    fileURLToPath(new URL('./express-session-server.ts', import.meta.url)),
    [about.redisUrl, 'x'.repeat(40)],
    {
      env: { ...process.env, NODE_ENV: 'production' },
    },
  );
  stack.defer(() => void other.kill());
  const [{ port }] = (await once(other, 'message')) as [{ port: number }];
  const otherOrigin = `http://127.0.0.1:${port}`;

  const key = { authorization: `Bearer ${about.serviceApiKey}`, 'content-type': 'application/json' };
  const create = (user: string): Shot => ({
    ...{ method: 'POST', path: '/v1/sessions', headers: key },
    body: JSON.stringify({ user_id: user, transport: 'cookie' }),
  });
  const cookiesOf = (shots: readonly Shot[], origin: string) =>
    Promise.all(shots.map((shot) => cookieFrom(origin, shot)));
  const muster = await cookiesOf(
    Array.from({ length: SESSIONS }, (_, n) => create(`u${n}`)),
    service.url,
  );
  const otherCreate: Shot = {
    ...{ method: 'POST', path: '/create', headers: { 'content-type': 'application/json' } },
    body: '{"user_id":"u"}',
  };
  const express = await cookiesOf(
    Array.from({ length: SESSIONS }, () => otherCreate),
    otherOrigin,
  );
  const get = (path: string) => (cookie: string) => ({ method: 'GET' as const, path, headers: { cookie } });
  const remove = (cookie: string): Shot => ({
    ...{ method: 'DELETE', path: '/v1/session' },
    headers: { cookie, origin: about.publicUrl, 'sec-fetch-site': 'same-origin' },
  });

  let made = 0;
  const users = (count: number) => Array.from({ length: count }, () => create(`b${made++}`));
  const closed = { connections: CONNECTIONS, seconds: SECONDS };
  const works: { contestant: string; work: string; pid: number; job: () => Promise<Job> | Job }[] = [];
  const ours = (work: string, job: () => Promise<Omit<Job, 'origin'>> | Omit<Job, 'origin'>) =>
    works.push({
      contestant: 'muster',
      work,
      pid: service.pid,
      job: async () => ({ origin: service.url, ...(await job()) }),
    });
  const theirs = (work: string, job: () => Omit<Job, 'origin'>) =>
    works.push({
      contestant: 'express-session',
      work,
      pid: other.pid ?? 0,
      job: () => ({ origin: otherOrigin, ...job() }),
    });

  ours('check', () => ({ ...closed, shots: muster.map(get('/v1/session')), expectedStatus: 200 }));
  theirs('check', () => ({ ...closed, shots: express.map(get('/check')), expectedStatus: 200 }));
  ours(`check at ${MODERATE_RATE}/s`, () => ({
    ...closed,
    rate: MODERATE_RATE,
    shots: muster.map(get('/v1/session')),
    expectedStatus: 200,
  }));
  theirs(`check at ${MODERATE_RATE}/s`, () => ({
    ...closed,
    rate: MODERATE_RATE,
    shots: express.map(get('/check')),
    expectedStatus: 200,
  }));
  ours('create', () => ({ ...closed, shots: users(20_000), expectedStatus: 201 }));
  theirs('create', () => ({ ...closed, shots: [otherCreate], expectedStatus: 201 }));
  ours('check cold', async () => {
    await forgetSnapshots(redis);
    return { ...closed, once: true, shots: muster.map(get('/v1/session')), expectedStatus: 200 };
  });
  ours('list', () => ({ ...closed, shots: muster.map(get('/v1/me/sessions')), expectedStatus: 200 }));
  ours('end', async () => {
    const doomed = await cookiesOf(users(COLD), service.url);
    return { ...closed, once: true, shots: doomed.map(remove), expectedStatus: 204 };
  });

  const measured = new Map<string, (Outcome & { cpuUs: number })[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const { contestant, work, pid, job } of works) {
      const prepared = await job();
      const before = cpuSecondsOf(pid);
      const outcome = await runLoad(prepared);
      if (outcome.unexpected > 0)
        throw new Error(`${contestant} ${work}: ${outcome.unexpected} × ${outcome.example}`);
      const cpuUs = ((cpuSecondsOf(pid) - before) / outcome.done) * 1e6;
      const name = `${contestant}|${work}`;
      measured.set(name, [...(measured.get(name) ?? []), { ...outcome, cpuUs }]);
      say(
        `round ${round}: ${contestant} ${work}: ${outcome.done} in ${outcome.seconds.toFixed(1)} s, p99 ${outcome.p99.toFixed(1)} ms, ${cpuUs.toFixed(0)} µs CPU each (load process: ${((outcome.ownCpuS / outcome.seconds) * 100).toFixed(0)} % of a core)`,
      );
    }
  }
  return [...measured].map(([name, all]) => {
    const [contestant = '', work = ''] = name.split('|');
    const of = (pick: (one: Outcome & { cpuUs: number }) => number) => median(all.map(pick));
    return {
      contestant,
      work,
      perSecond: of((one) => one.done / one.seconds),
      p50: of((one) => one.p50),
      p99: of((one) => one.p99),
      cpuUs: of((one) => one.cpuUs),
    };
  });
};

const cookieFrom = async (origin: string, { path, method, headers, body }: Shot): Promise<string> => {
  const answer = await fetch(origin + path, { method, headers, ...(body === undefined ? {} : { body }) });
  const cookie = answer.headers.get('set-cookie')?.split(';')[0];
  if (cookie === undefined) throw new Error(`no cookie: ${answer.status} ${await answer.text()}`);
  await answer.arrayBuffer();
  return cookie;
};

const forgetSnapshots = async (redis: Redis): Promise<void> => {
  for await (const keys of redis.scanStream({ match: 'muster:s:*', count: 1_000 })) {
    if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
  }
};
