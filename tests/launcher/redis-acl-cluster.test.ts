import { readFileSync } from 'node:fs';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import {
  type ClusterNode,
  type DedicatedRedisCluster,
  openDedicatedRedisCluster,
} from '@muster/testkit/dedicated-redis-cluster';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAggregator, type TestAggregator } from '../aggregator/fixture.ts';
import { connected, listenTo, sdk, startGateway, type TestGateway } from '../gateway/fixture.ts';
import { startService, type TestService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
const GUIDE = readFileSync(new URL('../../docs/operations/stores.md', import.meta.url), 'utf8');
const [name = '', ...everywhere] = /^ACL SETUSER (.*)$/m.exec(GUIDE)?.[1]?.split(' ') ?? [];
const onCluster = /On a cluster add\s+`([^`]+)`/.exec(GUIDE)?.[1]?.split(' ') ?? [];

let stack: AsyncDisposableStack;
let cluster: DedicatedRedisCluster;
let service: TestService;
let gateways: TestGateway[];
let aggregator: TestAggregator;

const grant = (rules: readonly string[]) =>
  Promise.all(cluster.nodes.map(({ direct }) => direct.call('ACL', 'SETUSER', name, 'reset', ...rules)));
/** Commands, keys, channels and logins that a node rejected. */
const refused = async (): Promise<string[]> => {
  const logs = await Promise.all(cluster.nodes.map(({ direct }) => direct.call('ACL', 'LOG')));
  return (logs as string[][][]).flat().map((entry) => `${entry[3]} ${entry[7]}`);
};

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  cluster = stack.use(await openDedicatedRedisCluster({ spares: 1 }));
  const [primary, , , replica] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode, ClusterNode];
  await cluster.replicate(replica, primary);
  await grant([...everywhere, ...onCluster]);
  const redisUrl = cluster.url.replace('redis+cluster://', `redis+cluster://${name}:PASSWORD@`);
  const addresses = { redisUrl, redisPrefix: 'muster:', databaseUrl: stores.databaseUrl };
  service = stack.use(await startService(addresses));
  gateways = await Promise.all(
    ['gw-1', 'gw-2'].map((INSTANCE_NAME) => startGateway(addresses, service.opsUrl, { INSTANCE_NAME })),
  );
  for (const gateway of gateways) stack.use(gateway);
  const expected = { EXPECTED: 'session-service=1,ws-gateway=2', OPS_TOKEN: 'x'.repeat(16) };
  aggregator = stack.use(await startAggregator(addresses, expected));
});
afterAll(() => stack.disposeAsync());

test('[RD10] on a cluster the account of the guide, with the rules for a cluster, is sufficient', async () => {
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'ann', transport: 'bearer' });
  const [one, two] = await Promise.all(gateways.map((gateway) => sdk(gateway, { token: body.token })).map(connected));
  // Enough groups for every node to have some.
  const rooms = Array.from({ length: 12 }, (_, n) => `room-${n}`);
  const heard = await Promise.all(rooms.map((room) => listenTo(two!, room)));
  for (const room of rooms) await one!.publish(room, { text: 'hello' });
  await until(() => heard.every(({ length }) => length === 1), { what: 'a message in every group' });
  for (const room of rooms) {
    expect((await two!.history(room, { limit: 1 })).publications).toHaveLength(1);
    await two!.presence(room);
  }
  const ticket = await service.bearer(body.token, 'POST', '/v1/session/ws-ticket', undefined, {
    origin: 'http://localhost:8080',
  });
  expect(ticket.status).toBeLessThan(300);
  await until(async () => (await service.bearer(body.token, 'GET', '/v1/session')).body.sockets, {
    ok: (sockets) => sockets === 2,
    what: 'both sockets in the session',
  });
  const closed = [one, two].map((client) => new Promise((resolve) => client!.once('disconnected', resolve)));
  expect((await service.service('DELETE', `/v1/sessions/${body.id}`)).status).toBe(204);
  expect(await Promise.all(closed)).toMatchObject([{ code: 4501 }, { code: 4501 }]);
  expect((await aggregator.request('/v1/fleet')).status).toBe(200);
  expect(await refused()).toEqual([]);
  for (const { opsUrl } of [service, ...gateways, aggregator]) {
    expect(await (await fetch(`${opsUrl}/health`)).json()).toMatchObject({
      checks: { redis: { status: 'up' } },
    });
  }
});

test('[RD10] on a cluster, each rule of its ACL is required: without it a command is rejected', async () => {
  for (const rule of onCluster) {
    await grant([...everywhere, ...onCluster]);
    for (const { direct } of cluster.nodes) await direct.call('ACL', 'LOG', 'RESET');
    await grant([...everywhere, ...onCluster.filter((each) => each !== rule)]);
    for (const { direct } of cluster.nodes) await direct.call('CLIENT', 'KILL', 'USER', name);
    await until(refused, {
      ok: (entries) => entries.some((entry) => entry.endsWith(` ${rule.slice(1)}`)),
      what: `something to be refused without ${rule}`,
    });
  }
  await grant([...everywhere, ...onCluster]);
}, 60_000);
