import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { startAggregator, startTiny, type TestAggregator } from './fixture.ts';

const stores = useTestStores();
const SECRET = 'a-webhook-secret-of-16';
let serial = 0;
const own = () => {
  serial += 1;
  return { redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}${serial}:` };
};
const leaderOf = async (aggregator: TestAggregator) =>
  (await aggregator.request('/v1/fleet')).body.leader as { name: string; epoch: number } | null;

interface Hook {
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a JSON body.
  readonly body: any;
}

/** A receiver of webhooks with the given answers, then 204. */
const receiver = async (answers: number[] = []) => {
  const hooks: Hook[] = [];
  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk) => {
      text += chunk;
    });
    req.on('end', () => {
      hooks.push({ headers: req.headers, text, body: JSON.parse(text) });
      res.writeHead(answers.shift() ?? 204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    hooks,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

test('[LD1] [LD3] [LD6] given two aggregators, one leads; when it stops, the other leads at once, with a greater epoch', async () => {
  const mine = own();
  const first = await startAggregator(mine, { INSTANCE_NAME: 'agg-1' });
  await using second = await startAggregator(mine, { INSTANCE_NAME: 'agg-2' });
  const before = (await until(() => leaderOf(second), { what: 'a leader' })) as {
    name: string;
    epoch: number;
  };
  expect(before.name).toBe('agg-1');
  expect(await leaderOf(first)).toEqual(before);
  await first[Symbol.asyncDispose]();
  const after = await until(() => leaderOf(second), {
    what: 'the next leader',
    ok: (leader) => leader?.name === 'agg-2',
    timeoutMs: 4_000,
  });
  expect(after?.epoch).toBeGreaterThan(before.epoch);
});

test('[LD4] [LD6] given a leader that crashed, when its lease expires, another leads', async () => {
  const mine = own();
  const redis = new Redis(stores.redisUrl);
  await redis.set(`${mine.redisPrefix}fleet:{muster}:leader`, 'dead-id dead-name', 'PX', 2_000);
  await redis.set(`${mine.redisPrefix}fleet:{muster}:epoch`, '41');
  redis.disconnect();
  // A quarter of the real lease.
  const env = { INSTANCE_NAME: 'agg-1', LEADER_LEASE_MS: '1500' };
  await using aggregator = await startAggregator(mine, env);
  await until(() => leaderOf(aggregator), {
    what: 'the crashed leader',
    ok: (leader) => leader?.name === 'dead-name',
  });
  await until(() => leaderOf(aggregator), {
    what: 'a takeover',
    ok: (leader) => leader?.name === 'agg-1' && leader.epoch === 42,
    timeoutMs: 8_000,
  });
});

test('[LD5] given Redis is unavailable, no aggregator leads', async () => {
  await using redis = await openDedicatedRedis();
  await using aggregator = await startAggregator(
    { redisUrl: redis.url, redisPrefix: 'ld:' },
    { LEADER_LEASE_MS: '1500' },
  );
  await until(() => leaderOf(aggregator), { what: 'a leader' });
  await redis.stop();
  await until(() => leaderOf(aggregator), {
    what: 'no leader',
    ok: (leader) => leader === null,
    timeoutMs: 10_000,
  });
  const metrics = await (await fetch(`${aggregator.opsUrl}/metrics`)).text();
  expect(metrics).toMatch(/^fleet_leader 0$/m);
});

test('[LD2] given a newer leader, a write of an older epoch is refused', async () => {
  const mine = own();
  await using tiny = await startTiny(mine);
  const redis = new Redis(stores.redisUrl);
  await using aggregator = await startAggregator(mine, { INCIDENT_AFTER_MS: '500' });
  await until(async () => (await aggregator.stateOf('tiny-1')) === 'up', { what: 'a fleet' });
  // Another aggregator has led since; this aggregator has not read it yet, and its lease is still valid.
  const writer = setInterval(() => {
    void redis.set(`${mine.redisPrefix}fleet:{muster}:epoch`, '1000');
    void redis.set(`${mine.redisPrefix}fleet:{muster}:leader`, 'other-id other', 'PX', 6_000);
  }, 50);
  tiny.kill('SIGKILL');
  await until(async () => (await aggregator.stateOf('tiny-1')) === 'down', { what: 'an outage' });
  // Long enough for an incident, and for its write to be refused.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  clearInterval(writer);
  expect((await aggregator.request('/v1/incidents')).body.items).toEqual([]);
  redis.disconnect();
});

test('[WH1] [WH3] [IN3] given an outage, one signed webhook is posted for its incident, and the next leader closes it', async () => {
  const mine = own();
  await using hook = await receiver();
  // A tenth of the real times.
  const env = { WEBHOOK_URLS: hook.url, WEBHOOK_SECRET: SECRET, INCIDENT_AFTER_MS: '500' };
  const first = await startAggregator(mine, { ...env, INSTANCE_NAME: 'agg-1' });
  await using second = await startAggregator(mine, { ...env, INSTANCE_NAME: 'agg-2' });
  await using tiny = await startTiny(mine);
  await until(async () => (await second.stateOf('tiny-1')) === 'up', { what: 'a fleet' });
  tiny.kill('SIGKILL');
  await until(() => hook.hooks.length, { what: 'a webhook', timeoutMs: 15_000 });
  await first[Symbol.asyncDispose]();
  const [opened] = hook.hooks;
  const id = String(opened?.headers['webhook-id']);
  const signed = createHmac('sha256', SECRET).update(`${id}.${opened?.headers['webhook-timestamp']}.${opened?.text}`);
  expect(opened?.headers['webhook-signature']).toBe(`v1,${signed.digest('base64')}`);
  expect(opened?.body).toMatchObject({
    type: 'incident.opened',
    text: 'tiny: Major outage (tiny-1 down refused)',
    incident: { subject: 'tiny', severity: 'major_outage', seq: 1 },
  });
  await until(async () => (await second.request('/v1/incidents?state=open')).body.items.length === 1, {
    what: 'the incident at the other aggregator',
  });
  await using _again = await startTiny(mine, { PORT: String(tiny.port), OPS_PORT: String(tiny.opsPort) });
  await until(async () => (await second.request('/v1/incidents?state=closed')).body.items.length === 1, {
    what: 'the end of the incident',
    timeoutMs: 60_000,
    intervalMs: 500,
  });
  await until(() => hook.hooks.length === 2, { what: 'the second webhook', timeoutMs: 5_000 });
  const closed = hook.hooks[1];
  expect(closed?.body).toMatchObject({ type: 'incident.closed', text: 'tiny: resolved' });
  expect(closed?.body.incident.id).toBe(opened?.body.incident.id);
  expect(closed?.body.epoch).toBeGreaterThan(opened?.body.epoch);
}, 120_000);

test('[WH2] when a webhook fails, it is repeated under the same id', async () => {
  const mine = own();
  await using hook = await receiver([500]);
  await using aggregator = await startAggregator(mine, {
    WEBHOOK_URLS: hook.url,
    STALE_AFTER_MS: '1000',
    INCIDENT_AFTER_MS: '200',
  });
  // The required service has no instance, which is an outage after STALE_AFTER_MS.
  await until(() => hook.hooks.length === 2, { what: 'the repetition', timeoutMs: 25_000 });
  expect(hook.hooks[1]?.headers['webhook-id']).toBe(hook.hooks[0]?.headers['webhook-id']);
  expect(hook.hooks[0]?.headers['webhook-signature']).toBeUndefined();
  const metrics = await (await fetch(`${aggregator.opsUrl}/metrics`)).text();
  expect(metrics).toMatch(/fleet_notifications_total\{channel="0",result="retried"\} 1/);
}, 60_000);
