import { type AddressInfo, connect, createServer } from 'node:net';
import { runCli } from '@muster/cli/cli';
import { createSyntheticCheckClient } from '@muster/health-aggregator/clients/synthetic-check-client';
import { systemClock } from '@muster/kit/clock';
import { createTenantHosts } from '@muster/session/tenant-hosts';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openSocket, type RawClient, SERVER_KEY, startGateway, type TestGateway } from '../gateway/fixture.ts';
import { SERVICE_KEY, startService, type TestService } from '../session/fixture.ts';
import { type Answer, FAST, startAggregator, type TestAggregator } from './fixture.ts';

const SHOP_KEY = 'shop-server-key-0123456789';
const SHOP_HOST = 'shop.localhost';
const OPS_TOKEN = 'operator-token-0123456789';
const TENANTS = ['default', 'shop', 'kiosk'] as const;
type Tenant = (typeof TENANTS)[number];

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
const clients: RawClient[] = [];
let sessions: TestService;
let gateway: TestGateway;
/** Its keys are for all tenants. */
let open: TestAggregator;
/** Its keys are for the tenant `shop`. */
let bound: TestAggregator;
let shopServiceKey = '';

beforeAll(async () => {
  const hosts = { TENANT_HOSTS: `${SHOP_HOST}=shop` };
  sessions = stack.use(await startService(stores, { ...hosts, ...FAST }));
  const scopes = ['create', 'read', 'write', 'end', 'check', 'search', 'admin', 'impersonate'].map(
    (one) => `sessions:${one}`,
  );
  const all = [...scopes, 'events:read', 'keys:admin', 'privacy', 'ops'];
  const made = await sessions.service('POST', '/v1/api-keys', { name: 'shop', scopes: all, tenant: 'shop' });
  shopServiceKey = made.body.key;
  const env = { ...hosts, ...FAST, SERVER_API_TENANT_KEYS: `shop=${SHOP_KEY}` };
  gateway = stack.use(await startGateway(stores, sessions.opsUrl, env));
  const aggregator = async (name: string, keys: NodeJS.ProcessEnv): Promise<TestAggregator> =>
    stack.use(
      await startAggregator(stores, {
        ...{ ...hosts, ...FAST, INSTANCE_NAME: name, OPS_TOKEN, SYNTHETIC_CHECK: 'off' },
        ...{ EXPECTED: 'session-service=1,ws-gateway=1', ...keys },
      }),
    );
  open = await aggregator('open', { SERVICE_API_KEYS: SERVICE_KEY, SERVER_API_KEYS: SERVER_KEY });
  bound = await aggregator('bound', { SERVICE_API_KEYS: shopServiceKey, SERVER_API_KEYS: SHOP_KEY });
  for (const one of [open, bound]) {
    for (const name of ['session-test', 'gw-test'])
      await until(() => one.stateOf(name), { ok: (state) => state === 'up', what: `${name} to be up` });
  }
});
afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.terminate();
});
afterAll(() => stack.disposeAsync());

interface Member {
  readonly session: string;
  readonly client: RawClient;
  /** The id of the connection. */
  readonly id: string;
}

const GRANTS = [{ groups: '*', allow: ['subscribe', 'publish', 'history'] }];
let lastId = 10;
/** The same user id in every tenant, in a group of the same name. */
const memberIn = async (tenant: Tenant, group: string, user = 'kim'): Promise<Member> => {
  const { body } = await sessions.service('POST', '/v1/sessions', { user_id: user, tenant, grants: GRANTS });
  const host: Record<string, string> = tenant === 'shop' ? { host: SHOP_HOST } : {};
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`, host);
  clients.push(client);
  client.send({ id: 1, connect: { token: body.token } }, { id: 2, subscribe: { channel: group } });
  expect(await client.reply(2)).toHaveProperty('subscribe');
  return { session: body.id, client, id: (await client.reply(1)).connect.client };
};
const everywhere = async (group: string): Promise<Record<Tenant, Member>> => ({
  default: await memberIn('default', group),
  shop: await memberIn('shop', group),
  kiosk: await memberIn('kiosk', group),
});
const publishAs = async ({ client }: Member, channel: string, data: string): Promise<void> => {
  lastId += 1;
  client.send({ id: lastId, publish: { channel, data } });
  expect(await client.reply(lastId)).toHaveProperty('publish');
};
const untilReceived = ({ client }: Pick<Member, 'client'>, text: string) =>
  until(() => client.frames.some((frame) => frame.includes(text)), { what: `"${text}" to be received` });
const isOpen = ({ client: { socket } }: Member) => socket.readyState === socket.OPEN;
const sum = (list: readonly { sockets: readonly unknown[] | null }[]) =>
  list.reduce((count, { sockets }) => count + (sockets?.length ?? 0), 0);

const operator = (on: TestAggregator, path: string, init: RequestInit = {}): Promise<Answer> =>
  on.request(`/v1/operator/${path}`, {
    ...init,
    headers: { authorization: `Bearer ${OPS_TOKEN}`, 'content-type': 'application/json' },
  });
// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const api = async (method: string, params: object, key = SERVER_KEY): Promise<any> => {
  const headers = { 'x-api-key': key };
  const body = JSON.stringify(params);
  return (await fetch(`${gateway.url}/api/${method}`, { method: 'POST', headers, body })).json();
};

describe('operator routes of the aggregator', () => {
  test('[OD7] [OD10] [OD17] [OD18] given one user id in three tenants, when a tenant is named, then sessions and sockets are of that tenant', async () => {
    const members = await everywhere('od7');
    for (const tenant of [undefined, ...TENANTS]) {
      const query = tenant === undefined ? '' : `&tenant=${tenant}`;
      const wanted = members[tenant ?? 'default'];
      const { status, body } = await operator(open, `sessions?find=kim${query}`);
      expect(status).toBe(200);
      const live = body.items.filter(({ sockets }: { sockets: unknown[] }) => sockets.length > 0);
      expect(live).toMatchObject([
        { id: wanted.session, tenant: tenant ?? 'default', sockets: [{ client: wanted.id }] },
      ]);
      expect([body.others, body.onlyTenant]).toEqual([[], null]);
      const newest = await operator(open, `sessions?find=${query}`);
      const tenants = newest.body.items.map((one: { tenant: string }) => one.tenant);
      expect(new Set(tenants)).toEqual(new Set([tenant ?? 'default']));
      // An id is unique: no tenant is needed.
      const byId = await operator(open, `sessions?find=${wanted.session}`);
      expect(byId.body.items).toMatchObject([{ id: wanted.session, sockets: [{ client: wanted.id }] }]);
    }
    for (const bad of ['', '*', 'no tenant', 'x'.repeat(65)])
      expect((await operator(open, `sessions?find=kim&tenant=${encodeURIComponent(bad)}`)).status).toBe(422);
  });

  test('[OD3] [OD7] [OD13] [OD14] [OD19] when a tenant is named, groups, publications and tails are of that tenant, at its host', async () => {
    const members = await everywhere('od7:talk');
    const listed = await operator(open, 'groups?pattern=od7:talk&tenant=*');
    expect(listed.body.items).toEqual(TENANTS.toSorted().map((tenant) => ({ group: 'od7:talk', tenant, members: 1 })));
    for (const tenant of TENANTS) {
      const one = await operator(open, `groups?pattern=od7:talk&tenant=${tenant}`);
      expect(one.body.items).toEqual([{ group: 'od7:talk', tenant, members: 1 }]);
      const tail = await tailOf(open, `groups/od7%3Atalk/tail?tenant=${tenant}`);
      for (const other of TENANTS) await publishAs(members[other], 'od7:talk', `sent in ${other}`);
      const path = `groups/od7%3Atalk/publications?tenant=${tenant}`;
      const data = `operator in ${tenant}`;
      const sent = await operator(open, path, { method: 'POST', body: JSON.stringify({ data }) });
      expect(sent).toMatchObject({ status: 201, body: { tenant } });
      await untilReceived(tail, data);
      await untilReceived(members[tenant], data);
      expect(tail.client.frames.join()).toContain(`sent in ${tenant}`);
      for (const other of TENANTS.filter((name) => name !== tenant)) {
        expect(tail.client.frames.join()).not.toContain(`sent in ${other}`);
        expect(members[other].client.frames.some((frame) => frame.includes(data))).toBe(false);
      }
      const facts = await operator(open, `groups/od7%3Atalk?tenant=${tenant}`);
      expect(facts.body).toMatchObject({ tenant, members: 2, position: sent.body.position });
      tail.client.socket.terminate();
    }
    const invalid = await operator(open, 'groups/x/tail?tenant=no%20tenant', { method: 'POST' });
    expect(invalid.status).toBe(422);
    expect(open.log.of('operator.tail_token_issued').map(({ fields }) => fields['tenant'])).toEqual([...TENANTS]);
  });

  test('[OD8] [OD20] [OD22] [OD23] given keys of one tenant, requests apply to that tenant only, and answers contain its name', async () => {
    const members = await everywhere('od8');
    const found = await operator(bound, 'sessions?find=kim');
    expect(found.body.onlyTenant).toBe('shop');
    expect(new Set(found.body.items.map((one: { tenant: string }) => one.tenant))).toEqual(new Set(['shop']));
    expect(sum(found.body.items)).toBe(1);
    for (const query of ['', '&tenant=*', '&tenant=shop']) {
      const groups = await operator(bound, `groups?pattern=od8${query}`);
      expect(groups.body).toMatchObject({
        ...{ onlyTenant: 'shop', items: [{ group: 'od8', tenant: 'shop', members: 1 }] },
      });
    }
    expect((await operator(bound, 'groups/od8')).body).toMatchObject({
      ...{ tenant: 'shop', members: 1, onlyTenant: 'shop' },
    });
    const tail = await tailOf(bound, 'groups/od8/tail');
    await operator(bound, 'groups/od8/publications', { method: 'POST', body: '{"data":"for the shop"}' });
    await untilReceived(tail, 'for the shop');
    await untilReceived(members.shop, 'for the shop');
    // Sessions of other tenants are not found, and never zero.
    const foreign = await operator(bound, `sessions?find=${members.default.session}`);
    expect(foreign.body.items).toEqual([]);
    expect((await operator(bound, `sessions/${members.default.session}`, { method: 'DELETE' })).status).toBe(404);
    for (const path of ['groups?tenant=default', 'groups/od8?tenant=default'])
      expect(await operator(bound, path)).toMatchObject({
        status: 403,
        body: { detail: expect.stringContaining('SERVER_API_KEYS') },
      });
    expect(await operator(bound, 'groups/od8/tail?tenant=default', { method: 'POST' })).toMatchObject({
      status: 403,
      body: { detail: expect.stringContaining('SERVER_API_KEYS') },
    });
    const body = '{"data":"never"}';
    const refused = await operator(bound, 'groups/od8/publications?tenant=default', { method: 'POST', body });
    expect(refused.status).toBe(403);
    expect(await operator(bound, 'sessions?find=kim&tenant=default')).toMatchObject({
      status: 503,
      body: { detail: expect.stringContaining('another tenant') },
    });
    expect(isOpen(members.default)).toBe(true);
    expect(members.default.client.frames.some((frame) => frame.includes('never'))).toBe(false);
  });

  test('[OD21] given a server API key of another tenant, the sockets of a session are unknown, not none', async () => {
    const { default: ours } = await everywhere('od8:mixed');
    const keys = { SERVICE_API_KEYS: SERVICE_KEY, SERVER_API_KEYS: SHOP_KEY };
    await using mixed = await startAggregator(stores, {
      ...{ ...FAST, INSTANCE_NAME: 'mixed', OPS_TOKEN, SYNTHETIC_CHECK: 'off', ...keys },
    });
    for (const name of ['session-test', 'gw-test'])
      await until(() => mixed.stateOf(name), { ok: (state) => state === 'up', what: `${name} to be up` });
    const { body } = await operator(mixed, `sessions?find=${ours.session}`);
    expect(body).toMatchObject({ onlyTenant: 'shop', items: [{ tenant: 'default', sockets: null }] });
    // Without TENANT_HOSTS the tail of a tenant with hosts is sent to a host where its token is not valid.
    const issued = await operator(mixed, 'groups/od8/tail', { method: 'POST' });
    expect(issued.body.url).toBe('/connection/websocket');
    const client = await openSocket(`${gateway.wsUrl}${issued.body.url}`);
    clients.push(client);
    client.send({ id: 1, connect: { token: issued.body.token } });
    expect((await client.closed).code).toBe(3500);
  });
});

test('[JO8] given an API key of a tenant, the synthetic check connects to the host of the tenant', async () => {
  const from = new URL(gateway.url).host;
  const plan = { sessions: new URL(sessions.url).host, from, to: from };
  const run = async (hosts: string[]) => {
    const tenantHosts = createTenantHosts(hosts);
    await using check = createSyntheticCheckClient({
      clock: systemClock,
      apiKey: shopServiceKey,
      tenantHosts,
    });
    return check.run(plan);
  };
  expect(await run([`${SHOP_HOST}=shop`])).toMatchObject({ ok: true });
  expect(await run([])).toMatchObject({
    ...{ ok: false, step: 'connect', why: expect.stringContaining('TENANT_HOSTS') },
  });
});

describe('server API', () => {
  test('[TNW4] given an id of a client or session, it is reached in its tenant; a key of a tenant reaches only its own', async () => {
    for (const by of ['client', 'session'] as const) {
      for (const tenant of TENANTS) {
        const member = await memberIn(tenant, `by-${by}`);
        const target = { [by]: by === 'client' ? member.id : member.session };
        const calls: [string, object][] = [
          ['subscribe', { channel: 'more' }],
          ['send', { data: 'hello' }],
          ['unsubscribe', { channel: 'more' }],
          ['refresh', { expire_at: Math.ceil(Date.now() / 1_000) + 600 }],
          ['disconnect', {}],
        ];
        for (const [method, params] of calls) {
          const reached = { result: { clients: 1, gateways: 1 } };
          const missed = { result: { clients: 0, gateways: 1 } };
          const call = `${method} by ${by} in ${tenant}`;
          const elsewhere = tenant === 'kiosk' ? 'default' : 'kiosk';
          const wrong = { ...params, ...target, tenant: elsewhere };
          expect(await api(method, wrong), `${call}, of another tenant`).toEqual(missed);
          // A batch with a tenant applies to that tenant.
          const batch = { tenant: elsewhere, commands: [{ [method]: { ...params, ...target } }] };
          expect((await api('batch', batch)).replies, `${call}, in a batch`).toEqual([{ [method]: missed.result }]);
          if (tenant !== 'shop')
            expect(await api(method, { ...params, ...target }, SHOP_KEY), `${call}, shop key`).toEqual(missed);
          const key = tenant === 'shop' && method !== 'disconnect' ? SHOP_KEY : SERVER_KEY;
          expect(await api(method, { ...params, ...target, tenant: '' }, key), call).toEqual(reached);
        }
        expect((await member.client.closed).code).toBe(3503);
      }
    }
    const member = await memberIn('kiosk', 'listed');
    const listed = await api('connections', { session: member.session });
    expect(listed.result.connections).toMatchObject([{ client: member.id, tenant: 'kiosk' }]);
    expect((await api('connections', { client: member.id }, SHOP_KEY)).result.connections).toEqual([]);
    // A user id is of one tenant, so it stays with the default one.
    expect((await api('connections', { user: 'kim' })).result.connections).toEqual([]);
  });

  test('[TNW4] when `channels` and `info` are called, they count all tenants, or the tenant of a key', async () => {
    await everywhere('counted');
    await memberIn('shop', 'counted', 'lee');
    const all = await api('channels', { pattern: 'counted', tenant: '*' });
    const tenants = { default: 1, shop: 2, kiosk: 1 };
    expect(all.result.channels).toEqual({ counted: { num_clients: 4, tenants } });
    const own = { counted: { num_clients: 2 } };
    expect((await api('channels', { pattern: 'counted' }, SHOP_KEY)).result.channels).toEqual(own);
    expect((await api('channels', { pattern: 'counted', tenant: 'shop' })).result.channels).toEqual(own);
    const infoOf = async (params: object, key?: string) => {
      const { nodes, tenant } = (await api('info', params, key)).result;
      return [tenant, nodes[0].num_clients];
    };
    expect(await infoOf({})).toEqual([undefined, 4]);
    expect(await infoOf({ tenant: '*' })).toEqual([undefined, 4]);
    expect(await infoOf({ tenant: 'kiosk' })).toEqual(['kiosk', 1]);
    expect(await infoOf({}, SHOP_KEY)).toEqual(['shop', 2]);
    // The tenant `default` may have a key of its own: it is one tenant, not all.
    const key = 'default-server-key-0123456789';
    gateway.reload({ SERVER_API_TENANT_KEYS: `shop=${SHOP_KEY},default=${key}` });
    expect(await infoOf({}, key)).toEqual(['default', 1]);
    const { id } = await memberIn('kiosk', 'counted', 'lee');
    expect((await api('disconnect', { client: id }, key)).result.clients).toBe(0);
    gateway.reload();
  });
});

test('[CM14] given --tenant, the command line uses sessions, groups and tails of that tenant', async () => {
  const members = await everywhere('line');
  await using proxy = await startRouter();
  const env = {
    MUSTER_URL: proxy.url,
    MUSTER_API_KEY: SERVICE_KEY,
    MUSTER_SERVER_API_KEY: SERVER_KEY,
  };
  const start = (argv: readonly string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const code = runCli({
      ...{ argv, env, cwd: '/', interruption: () => new AbortController().signal },
      out: (text) => out.push(text),
      err: (text) => err.push(text),
    });
    return { code, out, err };
  };
  const muster = async (argv: readonly string[]) => {
    const { code, out, err } = start(argv);
    return { code: await code, out: out.join('\n'), err: err.join('\n') };
  };
  const tail = start(['tail', 'line', '--tenant', 'kiosk', '--count', '1', '--json']);
  await until(() => tail.err.includes('listening to line'), { what: 'the tail to be subscribed' });
  await publishAs(members.default, 'line', 'of default');
  await publishAs(members.kiosk, 'line', 'of the kiosk');
  expect(await tail.code).toBe(0);
  expect(tail.out.map((line) => JSON.parse(line).data)).toEqual(['of the kiosk']);
  // A tenant with hosts is tailed at one of them.
  const refused = await muster(['tail', 'line', '--tenant', 'shop']);
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('TENANT_HOSTS')]);
  const list = await muster(['sessions', 'list', '--user', 'kim', '--tenant', 'kiosk', '--json']);
  const ids = JSON.parse(list.out).map(({ id }: { id: string }) => id);
  expect(ids).toContain(members.kiosk.session);
  expect(ids).not.toContain(members.default.session);
  expect((await muster(['sessions', 'list', '--tenant', 'kiosk'])).out).toContain('kim (kiosk)');
  const misused = await muster(['sessions', 'end', members.kiosk.session, '--tenant', 'kiosk']);
  expect([misused.code, misused.err]).toEqual([2, expect.stringContaining('unique across tenants')]);
  const groups = await muster(['groups', 'line', '--tenant', '*', '--url', gateway.url]);
  for (const tenant of TENANTS) expect(groups.out).toMatch(new RegExp(`^line +${tenant} +1 *$`, 'm'));

  const ended = await muster(['sessions', 'end', '--user', 'kim', '--tenant', 'kiosk']);
  expect(ended.code).toBe(0);
  expect((await members.kiosk.client.closed).code).toBe(4501);
  expect(isOpen(members.default) && isOpen(members.shop)).toBe(true);
});

/** One address for the session service and the gateway; distinguished by the first bytes of a connection. */
const startRouter = async () => {
  const server = createServer((socket) => {
    socket.once('data', (head) => {
      const isForGateway = /^(GET \/connection|POST \/api)/.test(head.toString('latin1'));
      const upstream = connect(Number(new URL(isForGateway ? gateway.url : sessions.url).port), '127.0.0.1');
      upstream.write(head);
      socket.pipe(upstream).pipe(socket);
      for (const one of [socket, upstream]) one.on('error', () => one.destroy());
    });
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
};

/** A client that has connected with a tail token, as a page of the console does. */
const tailOf = async (on: TestAggregator, path: string): Promise<{ readonly client: RawClient }> => {
  const { status, body } = await operator(on, path, { method: 'POST' });
  expect([status, Date.parse(body.expires_at) - Date.now() <= 60_000]).toEqual([201, true]);
  const { hostname: host, pathname, port } = new URL(body.url, on.url);
  expect(port).toBe(new URL(on.url).port);
  const client = await openSocket(`${gateway.wsUrl}${pathname}`, { host });
  clients.push(client);
  client.send({ id: 1, connect: { token: body.token } });
  expect(await client.reply(1)).toHaveProperty('connect');
  return { client };
};
