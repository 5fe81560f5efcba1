import { readFileSync } from 'node:fs';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAggregator, type TestAggregator } from '../aggregator/fixture.ts';
import { connected, listenTo, sdk, startGateway, type TestGateway } from '../gateway/fixture.ts';
import { startService, type TestService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
const GUIDE = readFileSync(new URL('../../docs/operations/stores.md', import.meta.url), 'utf8');
const [name = '', ...rules] = /^ACL SETUSER (.*)$/m.exec(GUIDE)?.[1]?.split(' ') ?? [];
/** A rule that revokes permissions: the product works without it. */
const WITHOUT_DANGER = '-@dangerous';

let stack: AsyncDisposableStack;
let redis: DedicatedStore;
let admin: Redis;
let service: TestService;
let gateway: TestGateway;
let aggregator: TestAggregator;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openDedicatedRedis());
  admin = stack.adopt(new Redis(redis.url), (each) => each.disconnect());
  await grant(rules);
  const redisUrl = redis.url.replace('redis://', `redis://${name}:PASSWORD@`);
  const addresses = { redisUrl, redisPrefix: 'muster:', databaseUrl: stores.databaseUrl };
  service = stack.use(await startService(addresses));
  gateway = stack.use(await startGateway(addresses, service.opsUrl));
  aggregator = stack.use(
    await startAggregator(addresses, {
      EXPECTED: 'session-service=1,ws-gateway=1',
      OPS_TOKEN: 'x'.repeat(16),
    }),
  );
});
afterAll(() => stack.disposeAsync());

const grant = (rules: readonly string[]) => admin.call('ACL', 'SETUSER', name, 'reset', ...rules);
/** Commands, keys, channels and logins that Redis rejected. */
const refused = async (): Promise<string[]> => {
  const entries = (await admin.call('ACL', 'LOG')) as string[][];
  return entries.map((entry) => `${entry[3]} ${entry[7]}`);
};
/** Uses every feature once; commands that Redis rejects are in its ACL log. */
const useEverything = async (): Promise<void> => {
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'ann', transport: 'bearer' });
  const client = await connected(sdk(gateway, { token: body.token }));
  const received = await listenTo(client, 'room');
  await client.publish('room', { text: 'hello' });
  await until(() => received.length, { what: 'a message' });
  await client.history('room', { limit: 1 });
  await client.presence('room');
  client.disconnect();
  expect((await service.bearer(body.token, 'GET', '/v1/session')).status).toBe(200);
  expect((await service.service('DELETE', `/v1/sessions/${body.id}`)).status).toBeLessThan(300);
  expect((await aggregator.request('/v1/fleet')).status).toBe(200);
};

test('[RD10] the account of the guide is enough for everything', async () => {
  await useEverything();
  const headers = { authorization: `Bearer ${'x'.repeat(16)}` };
  const drain = await aggregator.request('/v1/instances/gw-test/drain', { method: 'DELETE', headers });
  expect(drain.status).toBe(202);
  expect(await refused()).toEqual([]);
  for (const ops of [service.opsUrl, gateway.opsUrl, aggregator.opsUrl]) {
    expect(await (await fetch(`${ops}/health`)).json()).toMatchObject({
      checks: { redis: { status: 'up' } },
    });
  }
  const as = new Redis(redis.url.replace('redis://', `redis://${name}:PASSWORD@`));
  await expect(as.flushall()).rejects.toThrow(/^NOPERM/);
  await expect(as.keys('*')).rejects.toThrow(/^NOPERM/);
  as.disconnect();
});

test('[RD10] the account of the guide may query subscribers: no publication is kept for a group without subscribers', async () => {
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'ann', transport: 'bearer' });
  const client = await connected(sdk(gateway, { token: body.token }));
  await listenTo(client, 'heard');
  await admin.call('ACL', 'LOG', 'RESET');
  for (const group of ['heard', 'unheard']) await client.publish(group, { text: 'hello' });
  const kept = await admin.keys('muster:*heard*');
  client.disconnect();
  expect(kept.filter((key) => !key.includes('unheard'))).not.toEqual([]);
  expect(kept.filter((key) => key.includes('unheard'))).toEqual([]);
  expect(await refused()).toEqual([]);
});

test('[RD10] each rule of the ACL is required: without it a command is rejected', async () => {
  for (const rule of rules.filter((each) => each !== WITHOUT_DANGER)) {
    await grant(rules);
    await admin.call('ACL', 'LOG', 'RESET');
    await grant(rules.filter((each) => each !== rule));
    await admin.call('CLIENT', 'KILL', 'USER', name);
    await until(refused, {
      ok: (entries) => entries.length > 0,
      what: `something to be refused without ${rule}`,
    });
  }
  await grant(rules);
}, 60_000);
