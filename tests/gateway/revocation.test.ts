import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ORIGIN, startService, type TestService } from '../session/fixture.ts';
import { signToken, startApplication, type TestApplication, TOKEN_SECRET } from './fake-application.ts';
import { openSocket, type RawClient, SERVER_KEY, startGateway, type TestGateway, tryUpgrade } from './fixture.ts';

/** Promised from the answer of what takes a right away to the last effect, on a machine that is not busy; and without the bus. */
const BOUND_MS = 250;
const DEAF_BOUND_MS = 5_000;
/** A machine that takes longer than this for a plain request is busy, and gets as much more time, to a limit. */
const IDLE_MS = 10;
const MOST_BUSY = 8;

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
const file = join(tmpdir(), `muster-revocation-${process.pid}.json`);
const clients: RawClient[] = [];
let application: TestApplication;
let sessions: TestService;
let other: TestService;
let bus: FaultProxy;
let gateway: TestGateway;

const OPEN = {
  allow_subscribe_for_client: true,
  allow_publish_for_client: true,
  allow_history_for_subscriber: true,
  allow_presence_for_subscriber: true,
};
const NAMESPACES = [
  { name: 'board', allow_subscribe_for_client: false, allow_publish_for_client: false },
  { name: 'moderated', ...OPEN, publish_callback: true },
  { name: 'club', ...OPEN },
];
const groups = (names: readonly object[] = NAMESPACES) =>
  writeFile(file, JSON.stringify({ without_namespace: OPEN, namespaces: names }));

beforeAll(async () => {
  await groups();
  application = stack.use(await startApplication());
  sessions = stack.use(await startService(stores));
  other = stack.use(await startService(stores));
  bus = stack.use(await openFaultProxy(stores.redisUrl));
  gateway = stack.use(
    await startGateway({ ...stores, redisUrl: bus.url }, sessions.opsUrl, {
      GROUPS_FILE: file,
      TOKEN_HMAC_SECRET: TOKEN_SECRET,
      CALLBACK_PUBLISH_URL: application.url,
      CALLBACK_SECRET: 'a-callback-secret-of-32-bytes-000',
      REDIS_COMMAND_TIMEOUT_MS: '500',
    }),
  );
});
afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.terminate();
  application.answer({ result: {} });
  await bus.pass();
  await groups();
  gateway.reload();
});
afterAll(async () => {
  await stack.disposeAsync();
  await rm(file, { force: true });
});

const GRANT = { groups: 'board:*', allow: ['subscribe', 'publish', 'history', 'presence'] };

interface Login {
  readonly id: string;
  readonly user: string;
  readonly token: string;
}
/** A group with a publish callback that requires a grant. */
const MODERATED = { groups: '$moderated:1', allow: ['publish'] };
const login = async (more: object = { grants: [GRANT, MODERATED] }): Promise<Login> => {
  const user = `u_${randomBytes(4).toString('hex')}`;
  const { body } = await sessions.service('POST', '/v1/sessions', { user_id: user, ...more });
  return { id: body.id, user, token: body.token };
};
const connect = async (token: string, protocols: string[] = []): Promise<RawClient> => {
  const headers = protocols.length === 0 ? {} : { origin: ORIGIN };
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`, headers, protocols);
  clients.push(client);
  client.send({ id: 1, connect: token === '' ? {} : { token } });
  return client;
};
const plainSocket = async (group: string, token: string): Promise<RawClient> => {
  const url = `${gateway.wsUrl}/ws?group=${encodeURIComponent(group)}`;
  const client = await openSocket(url, { authorization: `Bearer ${token}` });
  clients.push(client);
  return client;
};
const ticketOf = async ({ token }: Login): Promise<string> =>
  (await sessions.bearer(token, 'POST', '/v1/session/ws-ticket', undefined, { origin: ORIGIN })).body.ticket;

/** Everything that may be open for one credential. */
const openAll = async (token: string, group: string) => {
  const protocol = await connect(token);
  const hung = await connect(token);
  protocol.send({ id: 2, subscribe: { channel: group } });
  expect(await protocol.reply(2)).toHaveProperty('subscribe');
  const plain = await plainSocket(group, token);
  await hung.reply(1);
  return { protocol, hung, plain };
};
type Opened = Awaited<ReturnType<typeof openAll>>;

const isClosed = ({ socket }: RawClient) => socket.readyState === socket.CLOSED;
const messages = ({ frames }: RawClient) =>
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  frames.flatMap((frame) => frame.split('\n')).map((text): any => JSON.parse(text));
const unsubscribeIn = (client: RawClient, group: string) =>
  messages(client).find(({ push }) => push?.channel === group && push.unsubscribe)?.push.unsubscribe;

/** Factor for bounds on a busy machine; 1 on an idle machine. */
const busyness = async (): Promise<number> => {
  const startedAt = performance.now();
  await (await fetch(`${gateway.url}/readyz`)).arrayBuffer();
  return Math.min(MOST_BUSY, Math.max(1, (performance.now() - startedAt) / IDLE_MS));
};
/** Waits for the effect and holds it against the bound. */
const within = async (boundMs: number, startedAt: number, what: string, isSo: () => unknown): Promise<void> => {
  await until(isSo, { what, intervalMs: 5 });
  const tookMs = performance.now() - startedAt;
  expect(tookMs, what).toBeLessThan(boundMs * (await busyness()));
};

/** A connection that stays is refused each command about the group. */
const expectRefused = async (client: RawClient, group: string): Promise<void> => {
  client.send(
    { id: 21, publish: { channel: group, data: 1 } },
    { id: 22, history: { channel: group, limit: 1 } },
    { id: 23, presence: { channel: group } },
    { id: 24, subscribe: { channel: group } },
  );
  for (const id of [21, 22, 23, 24])
    expect(await client.reply(id), JSON.stringify(id)).toMatchObject({ error: { code: 103 } });
};
const publishByServer = (group: string, data: unknown) =>
  fetch(`${gateway.url}/api/publish`, {
    method: 'POST',
    headers: { 'x-api-key': SERVER_KEY },
    body: JSON.stringify({ channel: group, data }),
  });
/** No client receives what is published now. */
const expectSilence = async ({ protocol, plain }: Opened, group: string): Promise<void> => {
  const observer = await connect((await login()).token);
  observer.send({ id: 2, subscribe: { channel: group } });
  await observer.reply(2);
  await publishByServer(group, 'secret');
  await until(() => observer.frames.some((frame) => frame.includes('secret')), { what: 'the publication' });
  for (const client of [protocol, plain]) expect(client.frames.filter((frame) => frame.includes('secret'))).toEqual([]);
};

describe('the end of a session', () => {
  const WAYS: readonly [string, (who: Login) => Promise<unknown>, object?][] = [
    ['the session', ({ id }) => sessions.service('DELETE', `/v1/sessions/${id}`)],
    ['its user', ({ user }) => sessions.service('PUT', `/v1/users/${user}`, { disabled: true })],
    [
      'its tenant',
      () => sessions.service('POST', '/v1/sessions/end', { tenant: 'gone', all: true, confirm: '*' }),
      { tenant: 'gone', grants: [GRANT] },
    ],
  ];
  test.each(WAYS)(
    '[RV1] given sockets of both kinds, a pending command and a ticket, when %s ends, then all are closed or rejected',
    async (_, end, more) => {
      const who = await login(more);
      const opened = await openAll(who.token, 'board:1');
      const ticket = await ticketOf(who);
      application.answer(() => {});
      opened.hung.send({ id: 3, publish: { channel: 'moderated:1', data: 'pending' } });
      await end(who);
      const startedAt = performance.now();
      await within(BOUND_MS, startedAt, 'the sockets to be closed', () => Object.values(opened).every(isClosed));
      for (const { closed } of Object.values(opened)) expect(await closed).toMatchObject({ code: 4501 });
      expect(await (await connect('', [`ticket.${ticket}`, 'muster'])).closed).toMatchObject({ code: 4501 });
      const headers = { authorization: `Bearer ${who.token}` };
      expect((await tryUpgrade(`${gateway.wsUrl}/ws?group=board:1`, headers)).status).toBe(401);
    },
  );
});

const setGrants = (id: string, grants: readonly object[]) =>
  sessions.service('PATCH', `/v1/sessions/${id}`, { grants });

describe('grants of a session', () => {
  test('[RV2] [RV8] [RV9] given a grant, when it is removed, then memberships end, the plain socket closes, and pending commands are rejected', async () => {
    const who = await login();
    const opened = await openAll(who.token, 'board:1');
    const { protocol, hung, plain } = opened;
    const ticket = await ticketOf(who);
    let answer: (() => void) | undefined;
    application.answer((_, res) => {
      answer = () => void res.setHeader('content-type', 'application/json').end('{"result":{}}');
    });
    hung.send({ id: 9, publish: { channel: '$moderated:1', data: 'late' } });
    await until(() => answer !== undefined, { what: 'the question to the application' });
    expect((await setGrants(who.id, [])).body.grants).toEqual([]);
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the end of the membership', () => unsubscribeIn(protocol, 'board:1'));
    await within(BOUND_MS, startedAt, 'the end of the plain socket', () => isClosed(plain));
    expect(unsubscribeIn(protocol, 'board:1')).toEqual({ code: 2502, reason: 'state invalidated' });
    expect(await plain.closed).toEqual({ code: 3507, reason: 'permission denied' });
    await expectRefused(protocol, 'board:1');
    await expectRefused(hung, 'board:1');
    await expectSilence(opened, 'board:1');
    answer?.();
    expect(await hung.reply(9)).toMatchObject({ error: { code: 103 } });
    const late = await connect('', [`ticket.${ticket}`, 'muster']);
    late.send({ id: 2, subscribe: { channel: 'board:1' } });
    expect(await late.reply(2)).toMatchObject({ error: { code: 103 } });
    expect(isClosed(protocol) || isClosed(hung)).toBe(false);
  });

  test('[RV10] [RV11] given grants, when some are removed and others added, then covered memberships stay and new groups are permitted', async () => {
    const who = await login();
    const { protocol, plain } = await openAll(who.token, 'board:1');
    protocol.send({ id: 3, subscribe: { channel: 'board:2' } }, { id: 4, subscribe: { channel: '$new' } });
    expect(await protocol.reply(3)).toHaveProperty('subscribe');
    expect(await protocol.reply(4)).toMatchObject({ error: { code: 103 } });
    const allow = ['subscribe', 'publish'];
    await setGrants(who.id, [
      { groups: 'board:1', allow },
      { groups: '$new', allow },
    ]);
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the end of one membership', () => unsubscribeIn(protocol, 'board:2'));
    protocol.send({ id: 5, subscribe: { channel: '$new' } });
    expect(await protocol.reply(5)).toHaveProperty('subscribe');
    await publishByServer('board:1', 'still');
    for (const client of [protocol, plain])
      await until(() => client.frames.some((frame) => frame.includes('still')), { what: 'a publication' });
    expect(unsubscribeIn(protocol, 'board:1')).toBeUndefined();
  });
});

describe('reloads by SIGHUP', () => {
  test('[RV4] given a namespace, when a permission of it is removed by SIGHUP, then its memberships and plain sockets end, others stay', async () => {
    const who = await login({});
    const opened = await openAll(who.token, 'club:1');
    opened.protocol.send({ id: 3, subscribe: { channel: 'lobby' } });
    await opened.protocol.reply(3);
    await groups(
      NAMESPACES.map((one) =>
        one.name === 'club'
          ? { name: 'club', allow_subscribe_for_client: false, allow_publish_for_client: false }
          : one,
      ),
    );
    gateway.reload();
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the end of the membership', () => unsubscribeIn(opened.protocol, 'club:1'));
    await within(BOUND_MS, startedAt, 'the end of the plain socket', () => isClosed(opened.plain));
    await expectRefused(opened.protocol, 'club:1');
    expect(unsubscribeIn(opened.protocol, 'lobby')).toBeUndefined();
  });

  test('[RV4] [RV16] given a pending callback, when its namespace is removed by SIGHUP, then memberships end and the command is rejected', async () => {
    const who = await login({});
    const { protocol, hung } = await openAll(who.token, 'club:2');
    let answer: (() => void) | undefined;
    application.answer((_, res) => {
      answer = () => void res.setHeader('content-type', 'application/json').end('{"result":{}}');
    });
    hung.send({ id: 9, publish: { channel: 'moderated:1', data: 'late' } });
    await until(() => answer !== undefined, { what: 'the question to the application' });
    await groups(NAMESPACES.filter(({ name }) => name === 'board'));
    gateway.reload();
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the end of the membership', () => unsubscribeIn(protocol, 'club:2'));
    answer?.();
    expect(await hung.reply(9)).toMatchObject({ error: { code: 103 } });
  });

  test('[RV5] [RV13] given a token key, when it is removed by SIGHUP, then its connections are closed and its subscriptions end', async () => {
    const secret = 'b1946ac92492d2347c6235b4d2611184-second';
    const both = { TOKEN_HMAC_SECRET: secret, TOKEN_HMAC_PREVIOUS_SECRET: TOKEN_SECRET };
    gateway.reload(both);
    const [old, fresh] = [await signToken({ sub: 'old' }), await signToken({ sub: 'new' }, secret)];
    const gone = await openAll(old, 'lobby');
    const stays = await connect(fresh);
    const permit = await signToken({ sub: 'new', channel: '$vip' });
    stays.send({ id: 2, subscribe: { channel: '$vip', token: permit } });
    expect(await stays.reply(2)).toHaveProperty('subscribe');
    gateway.reload({ TOKEN_HMAC_SECRET: secret });
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the sockets to be closed', () => Object.values(gone).every(isClosed));
    for (const { closed } of Object.values(gone)) expect(await closed).toMatchObject({ code: 3500 });
    await within(BOUND_MS, startedAt, 'the end of the subscription', () => unsubscribeIn(stays, '$vip'));
    expect(isClosed(stays)).toBe(false);
  });

  test('[RV14] given a key of the server API, when it is removed by SIGHUP, then calls are rejected with 401', async () => {
    expect((await publishByServer('lobby', 1)).status).toBe(200);
    gateway.reload({ SERVER_API_KEYS: 'another-server-key-0123456789' });
    expect((await publishByServer('lobby', 1)).status).toBe(401);
  });

  test('[RV15] given a host of a tenant, when it is removed by SIGHUP, then its connections are closed with 3500', async () => {
    const hosts = { TENANT_HOSTS: 'shop.localhost=shop' };
    gateway.reload(hosts);
    const who = await login({ tenant: 'shop' });
    const client = await openSocket(`${gateway.wsUrl}/connection/websocket`, { host: 'shop.localhost' });
    clients.push(client);
    client.send({ id: 1, connect: { token: who.token } });
    await client.reply(1);
    gateway.reload({ TENANT_HOSTS: 'shop.example.com=shop' });
    const startedAt = performance.now();
    await within(BOUND_MS, startedAt, 'the socket to be closed', () => isClosed(client));
    expect(await client.closed).toMatchObject({ code: 3500 });
  });
});

test('[SE35] given an API key revoked on one replica, when it is used on another, then it is rejected', async () => {
  const { body } = await sessions.service('POST', '/v1/api-keys', {
    name: 'short',
    scopes: ['sessions:read'],
  });
  const call = async (on: TestService) =>
    (
      await on.call('GET', `/v1/sessions/${crypto.randomUUID()}`, {
        headers: { authorization: `Bearer ${body.key}` },
      })
    ).status;
  expect([await call(sessions), await call(other)]).toEqual([404, 404]);
  expect((await sessions.service('DELETE', `/v1/api-keys/${body.id}`)).status).toBe(204);
  const startedAt = performance.now();
  expect(await call(sessions)).toBe(401);
  await until(async () => (await call(other)) === 401, {
    what: 'the other replica to refuse',
    intervalMs: 5,
  });
  expect(performance.now() - startedAt).toBeLessThan(BOUND_MS * (await busyness()));
});

test('[RV7] given a plain socket by a token, when the token expires, then the socket is closed at once', async () => {
  const expiresAt = Math.floor(Date.now() / 1000) + 2;
  const plain = await plainSocket('lobby', await signToken({ exp: expiresAt }));
  expect(await plain.closed).toMatchObject({ code: 3005 });
  expect(Date.now() - expiresAt * 1_000).toBeLessThan(BOUND_MS * (await busyness()));
});

test('[RV3] [RV12] given a deaf bus, when grants and privileges change, then sockets are updated within five seconds, each once', async () => {
  const [narrowed, raised] = [await login(), await login()];
  const { protocol, plain } = await openAll(narrowed.token, 'board:1');
  const stepped = await connect(raised.token);
  await stepped.reply(1);
  await bus.blackhole();
  const startedAt = performance.now();
  await setGrants(narrowed.id, []);
  const { body } = await sessions.service('POST', `/v1/sessions/${raised.id}/step-up`, {
    aal: 2,
    amr: ['otp'],
  });
  await within(DEAF_BOUND_MS, startedAt, 'the end of the membership', () => unsubscribeIn(protocol, 'board:1'));
  await within(DEAF_BOUND_MS, startedAt, 'the end of the plain socket', () => isClosed(plain));
  expect(await stepped.closed).toMatchObject({ code: 3014 });
  // Clients with the new token are not closed by the same change, neither connected nor during their authentication.
  const back: RawClient[] = [];
  const polls = () => sessions.metric('db_client_operation_duration_seconds_count{operation="find_changed_within"}');
  const before = await polls();
  while ((await polls()) < before + 3) {
    const client = await connect(body.token);
    await Promise.race([client.reply(1), client.closed]);
    expect(isClosed(client)).toBe(false);
    back.push(client);
    if (back.length > 3) back.splice(1, 1)[0]?.socket.terminate();
  }
  expect(back.some(isClosed)).toBe(false);
});
