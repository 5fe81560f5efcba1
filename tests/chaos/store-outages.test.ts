import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalFleet } from '@muster/fleet/fleet';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { until } from '@muster/testkit/wait';
import { afterEach, expect, test } from 'vitest';
import { signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';

// Reports during an outage, and the state after it. A whole fleet with the default settings and two aggregators.

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

interface IncidentBody {
  readonly id: string;
  readonly subject: string;
  readonly openedAt: string;
  readonly closedAt?: string;
  readonly isUnsaved?: boolean;
  readonly isStartUnknown?: boolean;
}
interface Hook {
  readonly type: string;
  readonly incident: IncidentBody;
}
const openReceiver = async () => {
  const hooks: Hook[] = [];
  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk) => {
      text += chunk;
    });
    req.on('end', () => {
      hooks.push(JSON.parse(text));
      res.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => void server.close());
  return { hooks, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
};
// biome-ignore lint/suspicious/noExplicitAny: answers of every shape.
const ask = async (url: string): Promise<any> => (await fetch(url)).json();
const incidentsOf = async (url: string, subject: string): Promise<IncidentBody[]> =>
  ((await ask(`${url}/v1/incidents`)).items as IncidentBody[]).filter((one) => one.subject === subject);
const begin = async () => {
  const redis: DedicatedStore = stack.use(await openDedicatedRedis());
  const receiver = await openReceiver();
  const env = { REDIS_URL: redis.url, WEBHOOK_URLS: receiver.url };
  const fleet: LocalFleet = stack.use(await startDedicatedFleet(env, 2, 2));
  const urls = fleet.describe().healthAggregators.map(({ url }) => url);
  for (const url of urls) {
    await until(async () => (await fetch(`${url}/health?strict=1`)).status, {
      ok: (status) => status === 200,
      what: 'a fleet that is well',
      timeoutMs: 40_000,
    });
  }
  return { fleet, redis, receiver, urls };
};
const untilImpact = (url: string, subject: string) =>
  until(
    async () => ((await ask(`${url}/health`)).impact ?? []).find((one: { subject: string }) => one.subject === subject),
    { what: `an impact of ${subject}`, timeoutMs: 15_000 },
  );
const untilStored = (url: string, subject: string, isThere: (one: IncidentBody) => boolean) =>
  until(() => incidentsOf(url, subject), {
    ok: (all) => all.length === 1 && all.every((one) => !one.isUnsaved && isThere(one)),
    what: `one incident of ${subject}`,
    timeoutMs: 90_000,
  });
/** Both aggregators show the same incident, with the true times. */
const expectTrue = async (
  { urls, receiver }: { urls: readonly string[]; receiver: { hooks: readonly Hook[] } },
  subject: string,
  [stoppedAt, backAt]: readonly [number, number],
) => {
  const all = [];
  for (const url of urls) {
    const [one] = await untilStored(url, subject, ({ closedAt }) => closedAt !== undefined);
    all.push(one);
  }
  expect(all[1]).toEqual(all[0]);
  const { id = '', openedAt = '', closedAt = '' } = all[0] ?? {};
  expect(Date.parse(openedAt) - stoppedAt).toBeGreaterThanOrEqual(0);
  expect(Date.parse(openedAt) - stoppedAt).toBeLessThanOrEqual(5_000);
  expect(Date.parse(closedAt) - backAt).toBeGreaterThanOrEqual(0);
  expect(Date.parse(closedAt) - backAt).toBeLessThanOrEqual(15_000);
  for (const url of urls) {
    expect(await (await fetch(`${url}/feed.atom`)).text()).toContain(id);
    const { items } = await ask(`${url}/v1/history?service=${subject}&days=1`);
    const lastedS = (Date.parse(closedAt) - Date.parse(openedAt)) / 1_000;
    const { seconds } = items[0].days[0];
    const counted = (seconds.major_outage ?? 0) + (seconds.degraded ?? 0);
    expect(counted).toBeGreaterThanOrEqual(lastedS - 5);
    expect(counted).toBeLessThanOrEqual(lastedS + 5);
  }
  await until(() => receiver.hooks.filter(({ incident }) => incident.id === id).map(({ type }) => type), {
    ok: (types) => types.length === 2,
    what: 'both webhooks',
    timeoutMs: 20_000,
  });
  const told = receiver.hooks.filter(({ incident }) => incident.subject === subject);
  expect(told.map(({ type }) => type)).toEqual(['incident.opened', 'incident.closed']);
};

test('[CH15] when Redis hangs for 75 s, the impact is reported within 5 s, and one incident remains', async () => {
  const world = await begin();
  const { fleet, redis, urls } = world;
  const stoppedAt = Date.now();
  redis.signal('SIGSTOP');
  for (const url of urls) {
    const { users } = await untilImpact(url, 'redis');
    expect(users).not.toBe('');
    expect(Date.now() - stoppedAt).toBeLessThanOrEqual(5_000);
  }
  // The report is right: users can sign in, and publications are rejected.
  const { credential } = await signInUser(fleet.describe(), 'ann');
  expect(credential).toBeDefined();
  const publish = await fetch(`${fleet.publicUrl}/api/publish`, {
    method: 'POST',
    headers: { 'x-api-key': fleet.describe().serverApiKey, 'content-type': 'application/json' },
    body: '{"channel":"room","data":{}}',
  });
  expect(await publish.json()).toMatchObject({ error: { code: 100 } });
  await sleep(75_000 - (Date.now() - stoppedAt));
  redis.signal('SIGCONT');
  await expectTrue(world, 'redis', [stoppedAt, Date.now()]);
});

test('[CH16] when Postgres and then both stores are unreachable, each has one incident with its times', async () => {
  const world = await begin();
  const { fleet, redis, urls } = world;
  const halfAt = Date.now();
  await fleet.halt('postgres');
  await untilImpact(urls[0] ?? '', 'database');
  await sleep(10_000);
  redis.signal('SIGSTOP');
  const bothAt = Date.now();
  await untilImpact(urls[0] ?? '', 'redis');
  await until(async () => (await fetch(`${urls[0]}/health`)).status, {
    ok: (status) => status === 503,
    what: 'both to be down',
  });
  await sleep(15_000);
  redis.signal('SIGCONT');
  const redisAt = Date.now();
  await fleet.resume('postgres');
  await expectTrue(world, 'redis', [bothAt, redisAt]);
  await expectTrue(world, 'database', [halfAt, redisAt]);
});

test('[CH17] when an aggregator is killed during an outage, the start that the other recorded remains', async () => {
  const { fleet, redis, urls } = await begin();
  redis.signal('SIGSTOP');
  const [seen] = await until(() => incidentsOf(urls[1] ?? '', 'redis'), {
    ok: (all) => all.some(({ isUnsaved }) => isUnsaved),
    what: 'an incident in memory',
    timeoutMs: 30_000,
  });
  const [first] = fleet.describe().healthAggregators;
  fleet.kill(first?.name ?? '', 'SIGKILL');
  const [late] = await until(() => incidentsOf(urls[0] ?? '', 'redis').catch(() => []), {
    ok: (all) => all.some(({ isUnsaved }) => isUnsaved),
    what: 'the restarted one to see it',
    timeoutMs: 60_000,
  });
  expect(late?.isStartUnknown).toBe(true);
  redis.signal('SIGCONT');
  for (const url of urls) {
    const [stored] = await untilStored(url, 'redis', ({ openedAt }) => openedAt === seen?.openedAt);
    expect(stored?.isStartUnknown).toBeUndefined();
  }
});
