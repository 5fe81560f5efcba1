import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { until } from '@muster/testkit/wait';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FAST, startAggregator, startTiny, type TestAggregator } from './fixture.ts';

// Incidents and history of an outage in which nothing can be written. All intervals are a tenth of the defaults.

const QUICK = {
  ...{ ...FAST, INCIDENT_AFTER_MS: '300', LEADER_LEASE_MS: '1500' },
  ...{ REDIS_COMMAND_TIMEOUT_MS: '500', REDIS_CONNECT_TIMEOUT_MS: '1000' },
};
let stack: AsyncDisposableStack;
let redis: DedicatedStore;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openDedicatedRedis());
});
afterEach(() => stack.disposeAsync());

interface IncidentBody {
  readonly id: string;
  readonly subject: string;
  readonly severity: string;
  readonly openedAt: string;
  readonly closedAt?: string;
  readonly isUnsaved?: boolean;
  readonly isStartUnknown?: boolean;
}
const incidentsOf = async (aggregator: TestAggregator): Promise<IncidentBody[]> =>
  (await aggregator.request('/v1/incidents')).body.items;
const ofRedis = (incidents: readonly IncidentBody[]) => incidents.filter(({ subject }) => subject === 'redis');
const secondsDown = async (aggregator: TestAggregator): Promise<number> => {
  const { body } = await aggregator.request('/v1/history?service=redis&days=1');
  return body.items?.[0]?.days[0]?.seconds.major_outage ?? 0;
};
const openHook = async () => {
  const received: { readonly type: string; readonly incident: IncidentBody }[] = [];
  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk) => {
      text += chunk;
    });
    req.on('end', () => {
      received.push(JSON.parse(text));
      res.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => void server.close());
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
};
/** Two aggregators and an instance that report on one Redis. */
const startFleet = async () => {
  const stores = { redisUrl: redis.url, redisPrefix: 'o:' };
  const hook = await openHook();
  const start = (name: string) => startAggregator(stores, { ...QUICK, INSTANCE_NAME: name, WEBHOOK_URLS: hook.url });
  const one = await start('agg-1');
  const two = stack.use(await start('agg-2'));
  stack.use(await startTiny(stores, QUICK));
  for (const each of [one, two]) {
    await until(async () => (await each.request('/v1/fleet')).body, {
      ok: ({ leader, dependencies: { redis } }) => leader !== null && redis.status === 'up' && redis.reporters === 3,
      what: 'an operational fleet',
      timeoutMs: 20_000,
    });
  }
  return { one, two, start, hook };
};
const untilDown = (aggregator: TestAggregator) =>
  until(async () => (await aggregator.request('/health')).body, {
    ok: ({ impact }) => impact?.[0]?.users.startsWith('Messages are not delivered') === true,
    what: 'an impact',
  });
const untilIncident = (aggregator: TestAggregator, isThere: (one: IncidentBody) => boolean) =>
  until(async () => ofRedis(await incidentsOf(aggregator)), {
    ok: (all) => all.length === 1 && all.every(isThere),
    what: 'an incident',
    timeoutMs: 20_000,
  });

test('[IN6] [IN19] [IN20] [IN22] [FH9] [FH25] when Redis stops, the impact is shown at once, and later the incident is stored with its true times', async () => {
  const { one, two, hook } = await startFleet();
  stack.use(one);
  const stoppedAt = Date.now();
  redis.signal('SIGSTOP');
  const seen = await Promise.all([one, two].map(untilDown));
  // [CH15] requires five seconds of a fleet; this bound allows for a busy machine.
  expect(Date.now() - stoppedAt).toBeLessThan(10_000);
  for (const [index, each] of [one, two].entries()) {
    const { status, impact } = seen[index] ?? {};
    expect(status).toBe('degraded');
    expect(impact[0]).toMatchObject({ subject: 'redis', reasons: ['timeout'] });
    const since = Date.parse(impact[0].since);
    expect([since >= stoppedAt - 1, since <= Date.now()]).toEqual([true, true]);
    const [kept] = await untilIncident(each, ({ isUnsaved }) => isUnsaved === true);
    expect(kept).toMatchObject({ severity: 'major_outage' });
    expect((await each.request('/feed.atom')).body).not.toContain('redis');
  }
  expect(hook.received).toEqual([]);
  const before = Math.floor((Date.now() - stoppedAt) / 1_000);
  redis.signal('SIGCONT');
  const backAt = Date.now();
  const [first] = await untilIncident(one, ({ closedAt, isUnsaved }) => closedAt !== undefined && !isUnsaved);
  // The follower has merged what it saw, or has nothing left to merge.
  const [second] = await untilIncident(two, ({ id, isUnsaved }) => id === first?.id && !isUnsaved);
  expect(second).toEqual(first);
  const openedAt = Date.parse(first?.openedAt ?? '');
  const closedAt = Date.parse(first?.closedAt ?? '');
  expect(openedAt).toBeGreaterThanOrEqual(stoppedAt - 1);
  // Stores are checked every two seconds; the detection is later by the timeout of the check and the interval of probes.
  expect(openedAt).toBeLessThan(stoppedAt + 3_000);
  expect(closedAt).toBeGreaterThanOrEqual(backAt - 1_000);
  expect(closedAt).toBeLessThan(backAt + 4_000);
  expect((await one.request('/feed.atom')).body).toContain(first?.id);
  await until(() => hook.received.filter(({ incident }) => incident.subject === 'redis'), {
    ok: (all) => all.length >= 2,
    what: 'both webhooks',
  });
  const posted = hook.received.filter(({ incident }) => incident.subject === 'redis');
  expect(posted.map(({ type, incident }) => `${type} ${incident.id}`)).toEqual(
    ['opened', 'closed'].map((kind) => `incident.${kind} ${first?.id}`),
  );
  for (const each of [one, two]) {
    expect(await secondsDown(each)).toBeGreaterThanOrEqual(before - 4);
    expect(await secondsDown(each)).toBeLessThanOrEqual(Math.ceil((closedAt - openedAt) / 1_000) + 2);
  }
}, 60_000);
