import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openSocket, type RawClient, type TestGateway, useFleet } from './fixture.ts';
import { openShedDirectives, type ShedDirectives } from './shed-directives.ts';

const NAMES = ['gw-first', 'gw-second'];
const fleet = useFleet({ names: NAMES, env: { HEARTBEAT_INTERVAL_MS: '100' } });
let directives: ShedDirectives;
let clients: RawClient[] = [];

beforeAll(() => {
  directives = openShedDirectives(fleet.stores);
});
afterAll(() => directives[Symbol.dispose]());
afterEach(async () => {
  for (const { socket } of clients) socket.terminate();
  clients = [];
  await directives.redis.del(directives.keys.moved);
});

const shed = ({ name }: TestGateway, request: object) =>
  directives.shed(name, { count: 10, perSecond: 100, cooldownMs: 60_000, ...request });
const sessionOf = async (user: string): Promise<string> =>
  (await fleet.sessions.service('POST', '/v1/sessions', { user_id: user, transport: 'bearer' })).body.token;
const connectTo = async (gateway: TestGateway, token: string, query = ''): Promise<RawClient> => {
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket${query}`);
  clients.push(client);
  client.send({ id: 1, connect: { token } }, { id: 2, subscribe: { channel: 'news' } });
  await client.reply(2);
  return client;
};
const connectMany = (gateway: TestGateway, count: number, query = '') =>
  Promise.all(Array.from({ length: count }, async (_, n) => connectTo(gateway, await sessionOf(`user-${n}`), query)));
const closedOf = (some: readonly RawClient[]) => some.filter(({ socket }) => socket.readyState === socket.CLOSED);
const movesOf = (gateway: TestGateway, result: string) =>
  gateway.metric(`gateway_rebalanced_connections_total{result="${result}"}`);
const untilRebalanced = (gateway: TestGateway, count: number) =>
  until(() => gateway.log.of('gateway.rebalanced').length === count, {
    what: 'the end of the moves',
    timeoutMs: 15_000,
  });

test('[RB1] [RB3] given clients, when a gateway receives directives, then it moves as many, and none of them a second time', async () => {
  const tokens = await Promise.all(Array.from({ length: 6 }, (_, n) => sessionOf(`user-${n}`)));
  const all = await Promise.all(tokens.map((token) => connectTo(fleet.gateway, token)));
  await shed(fleet.gateway, { count: 4 });
  await until(() => closedOf(all).length === 4, { what: 'four closed connections', timeoutMs: 15_000 });
  for (const { closed } of closedOf(all)) expect(await closed).toEqual({ code: 3001, reason: 'shutdown' });
  expect(await movesOf(fleet.gateway, 'closed')).toBe(4);
  await untilRebalanced(fleet.gateway, 1);
  // The same sessions on another gateway: those that were moved stay there.
  const again = await Promise.all(tokens.map((token) => connectTo(fleet.second, token)));
  const wasMoved = all.map((client) => closedOf(all).includes(client));
  await shed(fleet.second, { count: 6 });
  await untilRebalanced(fleet.second, 1);
  await until(() => closedOf(again).length === 2, { what: 'two closed connections' });
  expect(again.map((client) => closedOf(again).includes(client))).toEqual(wasMoved.map((before) => !before));
});

test('[RB1] given a client with `?moves=true`, when it is moved, then it is requested to and served until it closes or five seconds have passed', async () => {
  const [leaving, staying] = await connectMany(fleet.gateway, 2, '?moves=true');
  const [moved, late] = await Promise.all(['moved', 'late'].map((result) => movesOf(fleet.gateway, result)));
  const requested = '{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}}}';
  await shed(fleet.gateway, { count: 2 });
  for (const client of [leaving, staying]) {
    await until(() => client?.frames.includes(requested), { what: 'the request', timeoutMs: 10_000 });
    client?.send({ id: 3, presence_stats: { channel: 'news' } });
    expect(await client?.reply(3)).toHaveProperty('id', 3);
  }
  leaving?.socket.close(1000, 'moved');
  expect(await staying?.closed).toEqual({ code: 3001, reason: 'shutdown' });
  expect(await movesOf(fleet.gateway, 'moved')).toBe((moved ?? 0) + 1);
  expect(await movesOf(fleet.gateway, 'late')).toBe((late ?? 0) + 1);
});

test('[RB6] given a directive with an invalid number, or one that was followed, when it is delivered, then nothing happens', async () => {
  const all = await connectMany(fleet.gateway, 3);
  const before = fleet.gateway.log.of('gateway.rebalanced').length;
  await shed(fleet.gateway, { count: 'all' });
  await shed(fleet.gateway, { count: 1, cooldownMs: undefined });
  await shed(fleet.gateway, { count: 1 });
  await untilRebalanced(fleet.gateway, before + 1);
  const { redis, keys } = directives;
  const id = await directives.idOf(fleet.gateway.name);
  const heartbeatAt = async () => Number(await redis.zscore(keys.index, id));
  const since = await heartbeatAt();
  expect(await redis.exists(keys.directive(id))).toBe(1);
  await until(async () => (await heartbeatAt()) > since + 300, { what: 'further heartbeats', timeoutMs: 10_000 });
  expect(fleet.gateway.log.of('gateway.rebalanced')).toHaveLength(before + 1);
  expect(closedOf(all)).toHaveLength(1);
  expect((await fetch(`${fleet.gateway.url}/readyz`)).status).toBe(200);
  expect(fleet.gateway.log.of('heartbeat.directive_received')).toEqual([]);
});
