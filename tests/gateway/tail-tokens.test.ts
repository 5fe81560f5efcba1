import { createHmac } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTailToken, tailTokenKey } from '@muster/session/tail-token';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { signToken, TOKEN_SECRET } from './fake-application.ts';
import { openSocket, type RawClient, SERVER_KEY, startGateway, type TestGateway, tryUpgrade } from './fixture.ts';

const SHOP_KEY = 'shop-server-key-0123456789';
const SHOP_HOST = 'shop.localhost';
/** Clients with tokens need no session service. */
const NO_SESSIONS = 'http://127.0.0.1:9';
const PERMISSION_DENIED = 103;
const TOKEN_EXPIRED = 109;

const stores = useTestStores();
const stack = new AsyncDisposableStack();
const clients: RawClient[] = [];
let gateway: TestGateway;

const environment: NodeJS.ProcessEnv = {
  SERVER_API_TENANT_KEYS: `shop=${SHOP_KEY}`,
  TENANT_HOSTS: `${SHOP_HOST}=shop`,
  TOKEN_HMAC_SECRET: TOKEN_SECRET,
  PERSONAL_GROUPS: 'user:#',
};
beforeAll(async () => {
  const file = join(tmpdir(), `muster-groups-${crypto.randomUUID()}.json`);
  const options = { permissive: true, join_leave: true, force_push_join_leave: true };
  await writeFile(file, JSON.stringify({ without_namespace: options, namespaces: [{ name: 'user' }] }));
  environment['GROUPS_FILE'] = file;
  gateway = stack.use(await startGateway(stores, NO_SESSIONS, environment));
});
afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.terminate();
});
afterAll(() => stack.disposeAsync());

interface TailOptions {
  readonly key?: string;
  readonly tenant?: string;
  readonly group?: string;
  readonly agoMs?: number;
}
const tailToken = ({ key = SERVER_KEY, tenant = 'default', group = 'lobby', agoMs = 0 }: TailOptions = {}) =>
  createTailToken(key, { tenant, group, now: Date.now() - agoMs }).token;

const connect = async (token: string, host?: string): Promise<RawClient> => {
  const headers: Record<string, string> = host === undefined ? {} : { host };
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`, headers);
  clients.push(client);
  client.send({ id: 1, connect: { token } });
  return client;
};
const closeCodeOf = async (token: string, host?: string) => (await (await connect(token, host)).closed).code;
const received = ({ frames }: RawClient, text: string) =>
  until(() => frames.some((frame) => frame.includes(text)), { what: `"${text}" to be received` });
const publish = async (tenant: string, channel: string, data: string) => {
  const headers = { 'x-api-key': SERVER_KEY };
  const body = JSON.stringify({ channel, tenant, data });
  const response = await fetch(`${gateway.url}/api/publish`, { method: 'POST', headers, body });
  expect(await response.json()).toHaveProperty('result');
};
/** A token whose claims are free, signed with the key of tail tokens. */
const forge = (claims: object, key = SERVER_KEY): string => {
  const [header] = tailToken().split('.');
  const content = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  return `${content}.${createHmac('sha256', tailTokenKey(key)).update(content).digest('base64url')}`;
};
const seconds = (from: number) => Math.floor(Date.now() / 1_000) + from;

test('[TL1] given a tail token of a group, when a client connects, then it receives that group of that tenant only', async () => {
  const tail = await connect(tailToken());
  const shop = await connect(tailToken({ tenant: 'shop' }), SHOP_HOST);
  const { connect: welcome } = await tail.reply(1);
  expect(Object.keys(welcome.subs)).toEqual(['lobby']);
  expect([welcome.expires, welcome.ttl > 50 && welcome.ttl <= 60]).toEqual([true, true]);
  await shop.reply(1);
  await publish('default', 'lobby', 'for default');
  await publish('default', 'other', 'for another group');
  await publish('shop', 'lobby', 'for the shop');
  await received(tail, 'for default');
  await received(shop, 'for the shop');
  for (const text of ['for the shop', 'for another group'])
    expect(tail.frames.some((frame) => frame.includes(text))).toBe(false);
  expect(shop.frames.some((frame) => frame.includes('for default'))).toBe(false);
});

test('[TL2] given a connection with a tail token, when it does anything but receive, then it is error 103', async () => {
  // The options allow everything to every client.
  const tail = await connect(tailToken());
  await tail.reply(1);
  const member = await connect(await signToken());
  member.send(
    { id: 2, subscribe: { channel: 'lobby' } },
    { id: 3, presence: { channel: 'lobby' } },
    { id: 4, publish: { channel: 'other', data: 'x' } },
    { id: 5, history: { channel: 'lobby' } },
  );
  for (const id of [2, 3, 4, 5]) expect(await member.reply(id)).not.toHaveProperty('error');
  const commands = [
    { publish: { channel: 'lobby', data: 'x' } },
    { subscribe: { channel: 'other' } },
    { subscribe: { channel: 'other', token: await signToken({ channel: 'other' }) } },
    { presence: { channel: 'lobby' } },
    { presence_stats: { channel: 'lobby' } },
    { history: { channel: 'lobby' } },
    { rpc: { method: 'x' } },
  ];
  tail.send(...commands.map((command, index) => ({ id: index + 2, ...command })));
  for (const [index, command] of commands.entries()) {
    const reply = await tail.reply(index + 2);
    expect(reply, JSON.stringify(command)).toMatchObject({ error: { code: PERMISSION_DENIED } });
  }
  const plain = await tryUpgrade(`${gateway.wsUrl}/ws?group=lobby`, {
    authorization: `Bearer ${tailToken()}`,
  });
  expect(plain.status).toBe(403);
});

test('[TL3] given a connection with a tail token, when presence is read, then it does not appear, nor as a join', async () => {
  const member = await connect(await signToken());
  member.send({ id: 2, subscribe: { channel: 'lobby' } });
  await member.reply(2);
  const tail = await connect(tailToken());
  await tail.reply(1);
  const other = await connect(await signToken({ sub: 'bob' }));
  other.send({ id: 2, subscribe: { channel: 'lobby' } });
  await received(member, '"bob"');
  const joins = member.frames.filter((frame) => frame.includes('"join"'));
  expect(joins).toEqual([expect.stringContaining('"ann"'), expect.stringContaining('"bob"')]);
  expect(tail.frames.some((frame) => frame.includes('"join"'))).toBe(false);
  member.send({ id: 3, presence: { channel: 'lobby' } });
  const { presence } = await member.reply(3);
  const users = Object.values(presence.presence as Record<string, { user: string }>).map(({ user }) => user);
  expect(users.toSorted()).toEqual(['ann', 'bob']);
});

test('[TL4] given a tail token that has expired, when it is used, then connect is error 109 and refresh is 3005', async () => {
  const late = await connect(tailToken({ agoMs: 60_000 }));
  expect(await late.reply(1)).toMatchObject({ error: { code: TOKEN_EXPIRED } });
  const tail = await connect(tailToken());
  await tail.reply(1);
  tail.send({ id: 2, refresh: { token: tailToken({ agoMs: 60_000 }) } });
  expect((await tail.closed).code).toBe(3005);
  expect(await gateway.metric('gateway_token_checks_total{kind="connection",result="expired"}')).toBe(2);
});

const CLAIMS = { iss: 'muster-tail', sub: 'muster-console', tenant: 'default', group: 'lobby' };

test('[TL5] given the API key of one tenant, when its token names another tenant or host, then it is closed with 3500', async () => {
  expect(await closeCodeOf(tailToken({ key: SHOP_KEY, tenant: 'default' }))).toBe(3500);
  expect(await closeCodeOf(tailToken({ key: SHOP_KEY, tenant: 'kiosk' }))).toBe(3500);
  expect(await closeCodeOf(tailToken({ key: SHOP_KEY, tenant: 'shop' }))).toBe(3500);
  expect(await closeCodeOf(tailToken({ tenant: 'default' }), SHOP_HOST)).toBe(3500);
  const shop = await connect(tailToken({ key: SHOP_KEY, tenant: 'shop' }), SHOP_HOST);
  expect(await shop.reply(1)).toHaveProperty('connect');
});

test('[TL6] given an unknown key, bad claims or a long lifetime, when a client connects, then it is closed with 3500', async () => {
  const bad = [
    tailToken({ key: 'not-a-key-of-this-fleet-0123456789' }),
    forge({ ...CLAIMS, exp: seconds(3_600) }),
    forge(CLAIMS),
    forge({ ...CLAIMS, exp: seconds(60), group: 7 }),
    forge({ ...CLAIMS, exp: seconds(60), tenant: '*' }),
    forge({ ...CLAIMS, exp: seconds(60), iss: 'another' }),
    // The API key itself and the secret of the application sign no tail tokens.
    await signToken({ ...CLAIMS, exp: seconds(60) }, SERVER_KEY.padEnd(32, '!')),
  ];
  for (const token of bad) expect(await closeCodeOf(token), token).toBe(3500);
});

test('[TL7] given a connection with a tail token, when its API key is removed, then it is closed with 3500', async () => {
  const tail = await connect(tailToken({ key: SHOP_KEY, tenant: 'shop' }), SHOP_HOST);
  await tail.reply(1);
  const other = await connect(tailToken());
  await other.reply(1);
  gateway.reload({ SERVER_API_TENANT_KEYS: '' });
  expect((await tail.closed).code).toBe(3500);
  expect(other.socket.readyState).toBe(other.socket.OPEN);
  gateway.reload();
});

test('[TL8] given a connection with a tail token, when it refreshes with another tail token of its group, then it stays', async () => {
  const tail = await connect(tailToken());
  await tail.reply(1);
  tail.send({ id: 2, refresh: { token: tailToken({ agoMs: 10_000 }) } });
  expect(await tail.reply(2)).toMatchObject({ refresh: { expires: true } });
  tail.send({ id: 3, refresh: { token: tailToken({ group: 'other' }) } });
  expect((await tail.closed).code).toBeGreaterThan(3_000);
});
