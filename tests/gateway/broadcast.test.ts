import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import type { Centrifuge } from 'centrifuge';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { connected, listenTo, SERVER_KEY, sdk, startGateway, type TestGateway } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
let redis: FaultProxy;
let gateway: TestGateway;
const open: Centrifuge[] = [];
let series = 0;

beforeAll(async () => {
  sessions = await startService(stores);
  redis = await openFaultProxy(stores.redisUrl);
  const behind = { redisUrl: redis.url, redisPrefix: stores.redisPrefix };
  gateway = await startGateway(behind, sessions.opsUrl, { REDIS_COMMAND_TIMEOUT_MS: '400' });
});
afterEach(async () => {
  await redis.pass();
  for (const client of open.splice(0)) client.disconnect();
});
afterAll(async () => {
  for (const one of [gateway, sessions, redis]) await one[Symbol.asyncDispose]();
});

const call = async (method: string, body: unknown) => {
  const headers = { 'x-api-key': SERVER_KEY };
  const answer = await fetch(`${gateway.url}/api/${method}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  return (await answer.json()) as any;
};
const newGroups = (count: number): string[] => {
  series += 1;
  return Array.from({ length: count }, (_, n) => `b${series}:${n}`);
};
const client = async (user: string): Promise<Centrifuge> => {
  const { body } = await sessions.service('POST', '/v1/sessions', { user_id: user, transport: 'bearer' });
  const one = await connected(sdk(gateway, { token: body.token }));
  open.push(one);
  return one;
};
/** How many publications each of the groups has had. */
const made = async (groups: readonly string[]): Promise<number[]> => {
  const commands = groups.map((channel) => ({ history: { channel, limit: 0 } }));
  const { replies } = await call('batch', { commands, parallel: true });
  return replies.map(({ history }: { history: { offset: number } }) => history.offset);
};

test('[AP43] [AP44] given 10,000 groups, when a broadcast is made and repeated with its key, then each group has it once and other clients are served meanwhile', async () => {
  const groups = newGroups(10_000);
  const other = await client('u_other');
  const listener = await client('u_listener');
  const [first, last] = [await listenTo(listener, 'b1:0'), await listenTo(listener, 'b1:9999')];
  expect(groups.at(-1)).toBe('b1:9999');
  let served = 0;
  let isOver = false;
  const beside = (async () => {
    while (!isOver) {
      await other.publish('beside', served);
      served += 1;
    }
  })();
  const message = { channels: groups, data: { n: 1 }, idempotency_key: 'single use' };
  const { result } = await call('broadcast', message);
  isOver = true;
  await beside;
  expect(result.responses).toHaveLength(10_000);
  expect(new Set(result.responses.map((one: { result?: { offset: number } }) => one.result?.offset))).toEqual(
    new Set([1]),
  );
  // A hundred slices with the event loop free between: a client that waits for each answer has many turns.
  expect(served).toBeGreaterThan(15);
  const repeated = { ...message, channels: groups.slice(9_500) };
  expect((await call('broadcast', repeated)).result.responses).toEqual(result.responses.slice(9_500));
  expect(await made([groups[0] as string, groups[9_500] as string, groups[9_999] as string])).toEqual([1, 1, 1]);
  await other.publish('b1:0', 'end');
  await until(() => first.length === 2 && last.length === 1, { what: 'the publications' });
  expect([first, last]).toEqual([[{ n: 1 }, 'end'], [{ n: 1 }]]);
});

test('[AP43] given publications with large tags, when they are broadcast, then other clients are served between slices', async () => {
  const other = await client('u_beside_tags');
  let isOver = false;
  let served = 0;
  const message = { channels: newGroups(300), data: 1, tags: { large: 'x'.repeat(60_000) } };
  const broadcast = call('broadcast', message).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await other.publish('beside', served);
    served += 1;
  }
  const { result } = await broadcast;
  expect(result.responses.filter((one: { error?: object }) => one.error)).toEqual([]);
  // 75 slices of 256 KiB: one publication of the other client waits for a few of them.
  expect(served).toBeGreaterThan(15);
});

test('[AP21] given a broadcast with too many groups or without groups, when it is called, then it is rejected with the reason and nothing is published', async () => {
  expect(await call('broadcast', { channels: newGroups(10_001), data: 1 })).toEqual({
    error: { code: 107, message: expect.stringContaining('more than 10000 groups') },
  });
  expect(await call('broadcast', { channels: [], data: 1 })).toMatchObject({ error: { code: 107 } });
  const half = { broadcast: { channels: newGroups(5_001), data: 1 } };
  expect(await call('batch', { commands: [half, half] })).toMatchObject({ error: { code: 106 } });
});

test.each([
  { kind: 'kept', skip_history: false },
  { kind: 'not kept', skip_history: true },
])(
  '[AP22] [AP45] [AP46] given Redis that stops responding, when a broadcast of publications that are $kind is repeated with its key, then every group has it once',
  async ({ skip_history }) => {
    const groups = newGroups(450);
    const listener = await client('u_listens');
    const lists = await Promise.all(
      [...groups.slice(0, 40), ...groups.slice(-40)].map((one) => listenTo(listener, one)),
    );
    const message = { channels: groups, data: 'x', idempotency_key: 'again', skip_history };
    await redis.blackhole();
    const { responses } = (await call('broadcast', message)).result;
    expect(responses).toHaveLength(450);
    expect(responses[0].error).toMatchObject({
      code: 100,
      outcome: 'unknown',
      message: expect.stringContaining('idempotency_key'),
    });
    expect(responses[449].error).toMatchObject({ code: 100, outcome: 'not_published' });
    // The delayed publication arrives now: it was made although the answer was an error.
    await redis.pass();
    await until(async () => (await call('publish', { channel: 'ready', data: 1 })).error === undefined, {
      what: 'Redis to answer again',
    });
    const again = (await call('broadcast', message)).result.responses;
    expect(again.filter((one: { error?: object }) => one.error !== undefined)).toEqual([]);
    await until(() => lists.every(({ length }) => length >= 1), { what: 'the publication in each group' });
    await call('broadcast', { ...message, data: 'end', idempotency_key: 'end' });
    await until(() => lists.every((list) => list.includes('end')), { what: 'the end in each group' });
    expect(new Set(lists.map((list) => list.join()))).toEqual(new Set(['x,end']));
  },
);

test('[AP45] given an unreachable Redis, when a publication is made, then the outcome is not_published', async () => {
  await redis.refuse();
  await until(async () => (await call('publish', { channel: 'gone', data: 1 })).error?.outcome === 'not_published', {
    what: 'the answer that nothing was published',
  });
});

test('[AP20] [AP42] given a pattern for catastrophic backtracking, when groups are queried, then the answer takes bounded time', async () => {
  const member = await client('u_pattern');
  await listenTo(member, 'a'.repeat(200));
  const startedAt = process.cpuUsage();
  expect(await call('channels', { pattern: '*a*a*a*a*a*a*a*a*a*a*b' })).toEqual({ result: { channels: {} } });
  expect(await call('channels', { pattern: '*a*a*a*a?a' })).toMatchObject({
    result: { channels: { ['a'.repeat(200)]: { num_clients: 1 } } },
  });
  expect(process.cpuUsage(startedAt).user / 1000).toBeLessThan(2_000);
  expect(await call('channels', { pattern: '*'.repeat(256) })).toEqual({
    error: { code: 107, message: expect.stringContaining('longer than 255') },
  });
});
