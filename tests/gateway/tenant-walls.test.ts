import { runCli } from '@muster/cli/cli';
import { createGatewayClient } from '@muster/health-aggregator/clients/gateway-client';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { signToken, TOKEN_SECRET } from './fake-application.ts';
import { openSocket, type RawClient, SERVER_KEY, startGateway, type TestGateway } from './fixture.ts';

const SHOP_KEY = 'shop-server-key-0123456789';
const SHOP_HOST = 'shop.localhost';
const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
const clients: RawClient[] = [];
let sessions: TestService;
let first: TestGateway;
let second: TestGateway;

beforeAll(async () => {
  const hosts = { TENANT_HOSTS: `${SHOP_HOST}=shop` };
  sessions = stack.use(await startService(stores, hosts));
  const env = {
    ...hosts,
    SERVER_API_TENANT_KEYS: `shop=${SHOP_KEY}`,
    PERSONAL_GROUPS: 'user:#',
    TOKEN_HMAC_SECRET: TOKEN_SECRET,
    MAX_CONNECTIONS_PER_USER: '6',
  };
  first = stack.use(await startGateway(stores, sessions.opsUrl, { ...env, INSTANCE_NAME: 'gw-1' }));
  second = stack.use(await startGateway(stores, sessions.opsUrl, { ...env, INSTANCE_NAME: 'gw-2' }));
});
afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.terminate();
});
afterAll(() => stack.disposeAsync());

type Tenant = 'default' | 'shop';
const hostOf = (tenant: Tenant): Record<string, string> => (tenant === 'shop' ? { host: SHOP_HOST } : {});
const GRANTS = [{ groups: '*', allow: ['subscribe', 'publish', 'presence', 'history'] }];

const tokenOf = async (tenant: Tenant, user = 'kim'): Promise<string> =>
  (await sessions.service('POST', '/v1/sessions', { user_id: user, tenant, grants: GRANTS })).body.token;
const clientOf = async (tenant: Tenant, on = first, token?: string): Promise<RawClient> => {
  const client = await openSocket(`${on.wsUrl}/connection/websocket`, hostOf(tenant));
  clients.push(client);
  client.send({ id: 1, connect: { token: token ?? (await tokenOf(tenant)) } });
  expect(await client.reply(1)).toHaveProperty('connect');
  return client;
};
const plainOf = async (tenant: Tenant, group: string, on = first): Promise<RawClient> => {
  const headers = { ...hostOf(tenant), authorization: `Bearer ${await tokenOf(tenant)}` };
  const client = await openSocket(`${on.wsUrl}/ws?group=${encodeURIComponent(group)}`, headers);
  clients.push(client);
  // Nothing is read from it before it is in its group.
  client.socket.send('{"type":"heartbeat"}');
  await until(() => client.frames.length > 0, { what: 'the answer to a heartbeat' });
  return client;
};
let lastId = 100;
// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const request = (client: RawClient, command: object): Promise<any> => {
  lastId += 1;
  client.send({ id: lastId, ...command });
  return client.reply(lastId);
};
// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const call = async (method: string, params: object, key = SERVER_KEY): Promise<any> => {
  const headers = { 'x-api-key': key };
  const body = JSON.stringify(params);
  return (await fetch(`${second.url}/api/${method}`, { method: 'POST', headers, body })).json();
};
const receives = (client: RawClient, text: string) =>
  until(() => client.frames.some((frame) => frame.includes(text)), { what: `"${text}" to be received` });
const received = (client: RawClient, text: string) => client.frames.some((frame) => frame.includes(text));
/** The same group and the same user in both tenants, on both gateways, over both endpoints. */
const both = async (group: string) => {
  const scene = {
    default: [await clientOf('default'), await clientOf('default', second)],
    shop: [await clientOf('shop'), await clientOf('shop', second)],
  };
  for (const client of [...scene.default, ...scene.shop])
    expect(await request(client, { subscribe: { channel: group } })).toHaveProperty('subscribe');
  scene.default.push(await plainOf('default', group));
  scene.shop.push(await plainOf('shop', group));
  return scene;
};
const isOpen = ({ socket }: RawClient) => socket.readyState === socket.OPEN;

describe('clients of two tenants with the same user ids and group names', () => {
  test('[TNW1] given two tenants, when clients publish from sockets of both kinds, then publications stay in their tenant on all gateways', async () => {
    const { default: ours, shop: theirs } = await both('lobby');
    for (const [at, client] of theirs.slice(0, 2).entries())
      await request(client, { publish: { channel: 'lobby', data: `shop-${at}` } });
    theirs[2]?.socket.send('"shop-2"');
    await request(ours[0]!, { publish: { channel: 'lobby', data: 'ours' } });
    for (const text of ['shop-0', 'shop-1', 'shop-2']) for (const client of theirs) await receives(client, text);
    for (const client of ours) await receives(client, 'ours');
    expect(theirs.some((client) => received(client, 'ours'))).toBe(false);
    expect(ours.some((client) => received(client, 'shop-'))).toBe(false);
  });

  test('[TNW7] given two tenants, when clients query history and presence or recover, then results are those of their tenant, without tenants in names', async () => {
    const { default: ours, shop: theirs } = await both('past');
    await request(theirs[0]!, { publish: { channel: 'past', data: 'theirs' } });
    const history = (client: RawClient) => request(client, { history: { channel: 'past', limit: 10 } });
    expect((await history(ours[1]!)).history.publications ?? []).toEqual([]);
    expect((await history(theirs[1]!)).history.publications).toMatchObject([{ data: 'theirs' }]);
    await receives(theirs[0]!, '"channel":"past"');
    const presence = async (client: RawClient) =>
      Object.keys((await request(client, { presence: { channel: 'past' } })).presence.presence);
    const [here, there] = [await presence(ours[0]!), await presence(theirs[1]!)];
    expect([here.length, there.length]).toEqual([3, 3]);
    expect(here.filter((id) => there.includes(id))).toEqual([]);
    const back = await clientOf('default');
    const recovered = await request(back, {
      subscribe: { channel: 'past', recover: true, offset: 0, epoch: '' },
    });
    expect(recovered.subscribe.publications ?? []).toEqual([]);
  });

  test('[TNW2] given a grant of all groups, when its session uses groups, then they are of its tenant', async () => {
    const theirs = await clientOf('shop');
    await call('publish', { channel: '$board', data: 'secret of default' });
    await call('publish', { channel: 'user:#ceo', data: 'secret of default' });
    for (const channel of ['$board', 'user:#ceo']) {
      const { subscribe } = await request(theirs, {
        subscribe: { channel, recover: true, offset: 0, epoch: '' },
      });
      expect(subscribe.publications ?? []).toEqual([]);
      const { history } = await request(theirs, { history: { channel, limit: 10 } });
      expect(history.publications ?? []).toEqual([]);
    }
  });

  test('[TNW8] given groups of two tenants, when they are stored, then keys of the default tenant contain no tenant and others do', async () => {
    await call('publish', { channel: 'keys:1', data: 1 });
    await call('publish', { channel: 'keys:1', data: 1, tenant: 'shop' });
    const redis = new Redis(stores.redisUrl);
    const found = (await redis.keys(`${stores.redisPrefix}gs:*keys:1*`)).toSorted();
    redis.disconnect();
    expect(found).toEqual([`${stores.redisPrefix}gs:{keys:1}`, `${stores.redisPrefix}gs:{shop%1Fkeys:1}`]);
  });

  test('[LM1] given the same user id in two tenants, when clients connect, then connections are counted by tenant', async () => {
    for (let count = 0; count < 6; count += 1) await clientOf('default');
    const extra = await openSocket(`${first.wsUrl}/connection/websocket`);
    clients.push(extra);
    extra.send({ id: 1, connect: { token: await tokenOf('default') } });
    expect(await extra.reply(1)).toMatchObject({ error: { code: 111 } });
    await clientOf('shop');
  });

  test('[TNW3] [TNW9] given application tokens, when they are used at hosts, then they are of the tenant of the host or of their claim', async () => {
    const [plain, named] = [await signToken({ sub: 'kim' }), await signToken({ sub: 'kim', tenant: 'shop' })];
    const { default: ours, shop: theirs } = await both('jwt');
    const here = await clientOf('default', first, plain);
    const there = [await clientOf('shop', first, plain), await clientOf('shop', first, named)];
    for (const client of [here, ...there])
      expect(await request(client, { subscribe: { channel: 'jwt' } })).toHaveProperty('subscribe');
    for (const [client, data] of [
      [here, 'ours-jwt'],
      [there[0]!, 'shops-jwt'],
    ] as const)
      expect(await request(client, { publish: { channel: 'jwt', data } })).toHaveProperty('publish');
    for (const client of [...ours, here]) await receives(client, 'ours-jwt');
    for (const client of [...theirs, ...there]) await receives(client, 'shops-jwt');
    expect([...ours, here].some((client) => received(client, 'shops-jwt'))).toBe(false);
    const wrong = await openSocket(`${first.wsUrl}/connection/websocket`);
    clients.push(wrong);
    wrong.send({ id: 1, connect: { token: named } });
    expect(await wrong.closed).toMatchObject({ code: 3500 });
    const permit = await signToken({ sub: 'kim', channel: '$vip', tenant: 'shop' });
    expect(await request(there[1]!, { subscribe: { channel: '$vip', token: permit } })).toHaveProperty('subscribe');
    here.send({ id: 99, subscribe: { channel: '$vip', token: permit } });
    expect(await here.closed).toMatchObject({ code: 3500 });
  });
});

describe('server API', () => {
  const asShop = (method: string, params: object) => call(method, params, SHOP_KEY);

  test('[TNW4] given two tenants, when back ends publish, then calls affect the named tenant or that of the key', async () => {
    const { default: ours, shop: theirs } = await both('news');
    await call('publish', { channel: 'news', data: 'a-default' });
    await call('publish', { channel: 'news', data: 'a-shop', tenant: 'shop' });
    await asShop('publish', { channel: 'news', data: 'b-shop' });
    await asShop('broadcast', { channels: ['news'], data: 'c-shop' });
    await asShop('batch', { commands: [{ publish: { channel: 'news', data: 'd-shop' } }] });
    await call('batch', {
      commands: [
        { publish: { channel: 'news', data: 'e-default' } },
        { publish: { channel: 'news', data: 'e-shop', tenant: 'shop' } },
      ],
    });
    await fetch(`${first.url}/api`, {
      method: 'POST',
      headers: { 'x-api-key': SHOP_KEY },
      body: '{"method":"publish","params":{"channel":"news","data":"f-shop"}}',
    });
    for (const client of theirs) for (const letter of 'abcdef') await receives(client, `${letter}-shop`);
    for (const client of ours) for (const letter of 'ae') await receives(client, `${letter}-default`);
    expect(theirs.some((client) => received(client, '-default'))).toBe(false);
    expect(ours.some((client) => received(client, '-shop'))).toBe(false);
  });

  test('[TNW5] [TNW14] given a key of a tenant, when it is used for another tenant, then every method is rejected, in a batch too', async () => {
    const target = { user: 'kim' };
    const calls: Record<string, object> = {
      publish: { channel: 'x', data: 1 },
      broadcast: { channels: ['x'], data: 1 },
      subscribe: { ...target, channel: 'x' },
      unsubscribe: { ...target, channel: 'x' },
      disconnect: target,
      refresh: target,
      send: { ...target, data: 1 },
      presence: { channel: 'x' },
      presence_stats: { channel: 'x' },
      history: { channel: 'x' },
      history_remove: { channel: 'x' },
      channels: {},
      connections: {},
      info: {},
      rpc: { method: 'x' },
      batch: { commands: [] },
    };
    for (const tenant of ['default', 'other', '*']) {
      for (const [method, params] of Object.entries(calls)) {
        const message = 'permission denied: this key is for the tenant shop only';
        expect(await asShop(method, { ...params, tenant }), method).toEqual({
          error: { code: 103, message },
        });
        if (method === 'batch') continue;
        const { replies } = await asShop('batch', { commands: [{ [method]: { ...params, tenant } }] });
        expect(replies, method).toEqual([{ error: { code: 103, message } }]);
      }
    }
    expect(await call('publish', { channel: 'x', data: 1, tenant: 'no tenant' })).toMatchObject({
      error: { code: 107 },
    });
    expect(await call('publish', { channel: 'x', data: 1, tenant: '*' })).toMatchObject({
      error: { code: 107 },
    });
  });

  test('[TNW10] given two tenants, when back ends query a group, then results are those of its tenant', async () => {
    const { shop: theirs } = await both('seen');
    await request(theirs[0]!, { publish: { channel: 'seen', data: 'theirs' } });
    await clientOf('default').then((one) => request(one, { subscribe: { channel: 'only:ours' } }));
    const clientsIn = async (more: object, key?: string) =>
      Object.keys((await call('presence', { channel: 'seen', ...more }, key)).result.presence);
    const [ours, shop, bound] = [
      await clientsIn({}),
      await clientsIn({ tenant: 'shop' }),
      await clientsIn({}, SHOP_KEY),
    ];
    expect(bound.toSorted()).toEqual(shop.toSorted());
    expect([ours.length, shop.length]).toEqual([3, 3]);
    expect(ours.filter((id) => shop.includes(id))).toEqual([]);
    expect((await asShop('presence_stats', { channel: 'seen' })).result).toEqual({
      num_clients: 3,
      num_users: 1,
    });
    expect((await call('history', { channel: 'seen', limit: 9 })).result.publications).toEqual([]);
    expect((await asShop('history', { channel: 'seen', limit: 9 })).result.publications).toHaveLength(1);
    await call('history_remove', { channel: 'seen' });
    expect((await asShop('history', { channel: 'seen', limit: 9 })).result.publications).toHaveLength(1);
    await asShop('history_remove', { channel: 'seen' });
    expect((await asShop('history', { channel: 'seen', limit: 9 })).result.publications).toEqual([]);
    const channels = (await asShop('channels', {})).result.channels;
    expect(channels).toEqual({ seen: { num_clients: 3 }, 'user:#kim': { num_clients: 2 } });
    expect((await call('channels', {})).result.channels).toHaveProperty(['only:ours']);
  });

  test('[TNW11] [TNW12] given the same user id in two tenants, when back ends control connections, then those of one tenant are affected', async () => {
    const { default: ours, shop: theirs } = await both('orders');
    const listed = (await asShop('connections', {})).result.connections as { tenant: string; user: string }[];
    expect(listed.map(({ tenant }) => tenant)).toEqual(['shop', 'shop', 'shop']);
    const all = (await call('connections', { tenant: '*' })).result.connections as { tenant: string }[];
    expect(Object.groupBy(all, ({ tenant }) => tenant)).toMatchObject({
      default: { length: 3 },
      shop: { length: 3 },
    });
    const sum = async (key: string) =>
      (await call('info', {}, key)).result.nodes.reduce(
        (n: number, one: { num_clients: number }) => n + one.num_clients,
        0,
      );
    expect([await sum(SHOP_KEY), await sum(SERVER_KEY)]).toEqual([3, 6]);

    expect((await asShop('subscribe', { user: 'kim', channel: 'more' })).result.clients).toBe(2);
    expect((await asShop('send', { user: 'kim', data: 'whisper' })).result.clients).toBe(2);
    expect((await asShop('unsubscribe', { user: 'kim', channel: 'more' })).result.clients).toBe(2);
    for (const client of theirs.slice(0, 2)) await receives(client, 'whisper');
    expect(ours.some((client) => received(client, 'whisper') || received(client, '"more"'))).toBe(false);
    expect((await asShop('refresh', { user: 'kim', expired: true })).result.clients).toBe(3);
    await Promise.all(theirs.map(({ closed }) => closed));
    expect(ours.every(isOpen)).toBe(true);

    const again = await clientOf('shop');
    expect((await call('disconnect', { user: 'kim' })).result.clients).toBe(3);
    await Promise.all(ours.map(({ closed }) => closed));
    expect(isOpen(again)).toBe(true);
    expect((await call('disconnect', { user: 'kim', tenant: 'shop' })).result.clients).toBe(1);
  });
});

test('[TNW13] given sockets of two tenants, when an operator queries them, then sessions of every tenant and groups of the named tenant are found', async () => {
  const { shop } = await both('operators');
  const client = createGatewayClient({
    request: async ({ method, path, body }) => {
      const headers = { 'x-api-key': SERVER_KEY };
      return (await fetch(second.url + path, { method, headers, body: JSON.stringify(body) })).json();
    },
    names: () => ['gw-1', 'gw-2'],
  });
  const tenantsOf = (list: { sockets: readonly { tenant: string }[] }) =>
    list.sockets.map(({ tenant }) => tenant).toSorted();
  const [theirs] = (await client.sockets({ user: 'kim', tenant: 'shop' }, 1)).sockets;
  expect(tenantsOf(await client.socketsOf([theirs!.session]))).toEqual(['shop']);
  expect(tenantsOf(await client.sockets({ group: 'operators', tenant: 'shop' }, 9))).toEqual(['shop', 'shop', 'shop']);
  expect(tenantsOf(await client.sockets({ group: 'operators' }, 9))).toHaveLength(6);
  await client.publish({ group: 'operators', tenant: 'shop' }, 'by operator', 'single use');
  await receives(shop[0]!, 'by operator');
  expect((await client.position({ group: 'operators', tenant: 'shop' }))?.offset).toBe(1);
  expect((await client.position({ group: 'operators', tenant: 'default' }))?.offset).toBe(0);
  await clientOf('default').then((one) => request(one, { subscribe: { channel: 'only:here' } }));
  expect((await client.list('only:*', 'default')).items).toHaveLength(1);
  expect((await client.list('only:*', 'shop')).items).toEqual([]);
});

test('[TNW15] given two tenants, when the command line is called with --tenant, then the call affects that tenant', async () => {
  const { default: ours, shop } = await both('line');
  const muster = async (...argv: string[]) => {
    const out: string[] = [];
    const env = { MUSTER_URL: second.url, MUSTER_SERVER_API_KEY: SERVER_KEY };
    const none = () => new AbortController().signal;
    await runCli({ argv, env, cwd: '/', out: (text) => out.push(text), err: () => {}, interruption: none });
    return out.join('\n');
  };
  await muster('publish', 'line', 'from-shop', '--tenant', 'shop');
  await receives(shop[0]!, 'from-shop');
  expect(ours.some((client) => received(client, 'from-shop'))).toBe(false);
  for (const [tenant, count] of [
    ['shop', 3],
    ['*', 6],
  ] as const) {
    const listed = JSON.parse(await muster('connections', '--group', 'line', '--tenant', tenant, '--json'));
    expect(listed).toHaveLength(count);
  }
  const groups = JSON.parse(await muster('groups', 'line', '--tenant', 'shop', '--json'));
  expect(groups).toEqual([{ group: 'line', members: 3 }]);
});

test('[TNW6] given user ids with # and , when they connect, then each has a personal group of its own', async () => {
  const ids = ['1234', 'bob', 'bob#1234', 'bob,1234', 'bob%231234', 'böb', 'x'.repeat(250)];
  const names = new Map<string, string>();
  for (const id of ids) {
    const client = await openSocket(`${first.wsUrl}/connection/websocket`);
    clients.push(client);
    client.send({ id: 1, connect: { token: await signToken({ sub: id }) } });
    const [name] = Object.keys((await client.reply(1)).connect.subs);
    names.set(id, name ?? '');
    for (const other of ids.filter((one) => one !== id)) {
      const channel = names.get(other);
      if (channel !== undefined)
        expect(await request(client, { subscribe: { channel } }), `${id} in ${channel}`).toMatchObject({
          error: { code: 103 },
        });
    }
    client.socket.terminate();
  }
  expect(new Set(names.values()).size).toBe(ids.length);
  expect(names.get('bob')).toBe('user:#bob');
  expect(names.get('bob#1234')).toBe('user:#bob%231234');
});
