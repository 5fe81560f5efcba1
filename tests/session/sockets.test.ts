import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openSocket, type RawClient, startGateway, type TestGateway, tryUpgrade } from '../gateway/fixture.ts';
import { startService, type TestService } from './fixture.ts';

const PROTOCOL = '/connection/websocket';
const stores = useTestStores({ migrate });
const clients: RawClient[] = [];
let stack: AsyncDisposableStack;
let server: DedicatedStore;
let raw: Redis;
let cable: FaultProxy;
let sessions: TestService;
let gateway: TestGateway;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
  raw = new Redis(server.url);
  raw.on('error', () => {});
  stack.defer(() => raw.disconnect());
  cable = stack.use(await openFaultProxy(server.url));
  sessions = stack.use(
    await startService(
      { databaseUrl: stores.databaseUrl, redisUrl: server.url, redisPrefix: 't:' },
      { SESSION_LIMIT_PER_MINUTE: '0' },
    ),
  );
  gateway = stack.use(
    await startGateway({ redisUrl: cable.url, redisPrefix: 't:' }, sessions.opsUrl, {
      REDIS_COMMAND_TIMEOUT_MS: '500',
    }),
  );
});
afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.terminate();
  await cable.pass();
});
afterAll(() => stack.disposeAsync());

interface Login {
  readonly id: string;
  readonly token: string;
}
const login = async (user = 'u_1'): Promise<Login> =>
  (await sessions.service('POST', '/v1/sessions', { user_id: user })).body;
const logins = (count: number, user: string) => Promise.all(Array.from({ length: count }, () => login(user)));
const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const socketOf = async ({ token }: Login, base = gateway.wsUrl): Promise<RawClient> => {
  const client = await openSocket(base + PROTOCOL);
  clients.push(client);
  client.send({ id: 1, connect: { token } });
  return client;
};
const connected = async (who: Login, base?: string): Promise<RawClient> => {
  const client = await socketOf(who, base);
  await client.reply(1);
  return client;
};
const isOpen = ({ socket }: RawClient) => socket.readyState === socket.OPEN;
const works = async (client: RawClient, id: number) => {
  client.send({ id, publish: { channel: 'alive', data: id } });
  expect(await client.reply(id)).toEqual({ id, publish: {} });
};
const timed = async (work: Promise<unknown>): Promise<number> => {
  const begun = performance.now();
  await work;
  return performance.now() - begun;
};

test('[GS2] given a stolen secret that is used, the session and all its sockets end', async () => {
  const first = await login('u_stolen');
  const { body: second } = await sessions.bearer(first.token, 'POST', '/v1/session/rotate');
  const { body: third } = await sessions.bearer(second.token, 'POST', '/v1/session/rotate');
  const sockets = await Promise.all([connected(third), connected(third)]);
  expect((await sessions.bearer(first.token, 'GET', '/v1/session')).status).toBe(401);
  const ms = await timed(
    Promise.all(
      sockets.map(async ({ closed }) =>
        expect(await closed).toEqual({ code: 4501, reason: 'session ended: reuse_detected' }),
      ),
    ),
  );
  expect(ms).toBeLessThan(2000);
});

test('[GS2] given a change of password, the device that made it stays and the others end', async () => {
  const [own, ...others] = await logins(4, 'u_password');
  const staying = await connected(own!);
  const going = await Promise.all(others.map((one) => connected(one)));
  const ended = await sessions.bearer(own!.token, 'DELETE', '/v1/me/sessions?except=current');
  expect(ended.body).toMatchObject({ ended: 3 });
  for (const { closed } of going) {
    expect(await closed).toEqual({ code: 4501, reason: 'session ended: revoked_others' });
  }
  expect(isOpen(staying)).toBe(true);
  await works(staying, 2);
  for (const { token } of others) {
    expect((await sessions.bearer(token, 'GET', '/v1/session')).status).toBe(401);
  }
});

test('[GS1] given an end during the check of a handshake, no socket stays', async () => {
  const all = await logins(40, 'u_meeting');
  const opened = await Promise.all(
    all.map(async (one, n) => {
      const [client] = await Promise.all([
        socketOf(one),
        new Promise((resolve) => setTimeout(resolve, n % 10)).then(() =>
          sessions.service('DELETE', `/v1/sessions/${one.id}`),
        ),
      ]);
      return client;
    }),
  );
  const codes = await Promise.all(opened.map(async ({ closed }) => (await closed).code));
  expect(new Set(codes)).toEqual(new Set([4501]));
});

test('[GS1] given an end published while the session is read, no socket stays', async () => {
  await using source = await openFaultProxy(sessions.opsUrl);
  await using distant = await startGateway({ redisUrl: server.url, redisPrefix: 't:' }, source.url.replace(/\/$/, ''), {
    INSTANCE_NAME: 'gw-distant',
  });
  const one = await login('u_distant');
  await raw.del(`t:s:{${one.id}}`);
  await source.delay(300);
  const client = await socketOf(one, distant.wsUrl);
  // The service has read the row, left it in Redis, and its answer is on the way.
  await until(async () => (await raw.exists(`t:s:{${one.id}}`)) === 1, {
    what: 'the look at the source',
    intervalMs: 5,
  });
  expect((await sessions.service('DELETE', `/v1/sessions/${one.id}`)).status).toBe(204);
  expect(await client.closed).toEqual({ code: 4501, reason: 'session ended: admin' });
});

test('[GS3] when the session expires, its socket is closed within a second, not before', async () => {
  const one = await login('u_brief');
  const [{ until: at }] = await sql(
    `UPDATE sessions SET expires_at = date_trunc('milliseconds', now()) + interval '1500 milliseconds', rev = rev + 1
     WHERE id = $1 RETURNING extract(epoch FROM expires_at)::float8 * 1000 AS until`,
    [one.id],
  );
  await raw.del(`t:s:{${one.id}}`);
  const [client, plain] = [
    await connected(one),
    await openSocket(`${gateway.wsUrl}/ws?group=a`, { authorization: `Bearer ${one.token}` }),
  ];
  clients.push(plain);
  for (const { closed } of [client, plain]) {
    expect(await closed).toEqual({ code: 4501, reason: 'session ended: expired' });
  }
  expect(Date.now()).toBeGreaterThanOrEqual(Math.floor(at) - 5);
  expect(Date.now()).toBeLessThan(at + 1000);
});

test('[GS4] given a peer that vanished, its connection is removed when its session ends', async () => {
  await using wire = await openFaultProxy(gateway.url);
  const before = await gateway.metric('gateway_connections');
  const one = await login('u_gone');
  await connected(one, wire.url.replace(/^http/, 'ws').replace(/\/$/, ''));
  expect(await gateway.metric('gateway_connections')).toBe(before + 1);
  await wire.blackhole();
  await sessions.service('DELETE', `/v1/sessions/${one.id}`);
  await until(async () => (await gateway.metric('gateway_connections')) <= before, {
    what: 'the end of the connection',
    timeoutMs: 10_000,
  });
});

test('[HS2] given a token among the subprotocols, it is ignored, not echoed and not logged', async () => {
  const { token } = await login('u_echo');
  for (const offered of [token, `centrifuge-json, ${token}`, `${token}, centrifuge-json`]) {
    const answer = await tryUpgrade(gateway.url + PROTOCOL, { 'sec-websocket-protocol': offered });
    expect([101, 400]).toContain(answer.status);
    expect(JSON.stringify(answer)).not.toContain(token);
  }
  const plain = await tryUpgrade(`${gateway.url}/ws?group=a&token=${token}`, {
    'sec-websocket-protocol': token,
  });
  expect(plain.status).toBe(401);
  expect(plain.body).not.toContain(token);
  expect(JSON.stringify([gateway.log.lines, sessions.log.lines])).not.toContain(token);
});

const ticketFor = async ({ token }: Login): Promise<string> =>
  (await sessions.bearer(token, 'POST', '/v1/session/ws-ticket', {})).body.ticket;
const offer = async (ticket: string) =>
  (await tryUpgrade(`${gateway.url}/ws?group=a`, { 'sec-websocket-protocol': `muster, ticket.${ticket}` })).status;
const redemptions = async () => Number(/cmdstat_getdel:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0);

test('[HS10] given ten handshakes with one ticket, one is accepted', async () => {
  const ticket = await ticketFor(await login('u_ticket'));
  const statuses = await Promise.all(Array.from({ length: 10 }, () => offer(ticket)));
  expect(statuses.filter((status) => status === 101)).toHaveLength(1);
  expect(statuses.filter((status) => status === 401)).toHaveLength(9);
});

test('[HS10] given an expired or guessed ticket, it is refused after at most one look-up', async () => {
  const late = await ticketFor(await login('u_ticket'));
  for (const key of await raw.keys('t:t:*')) await raw.pexpire(key, 1);
  await until(async () => (await raw.keys('t:t:*')).length === 0, { what: 'the end of the ticket' });
  for (const ticket of [late, `t_${'A'.repeat(43)}`]) {
    const before = await redemptions();
    expect(await offer(ticket)).toBe(401);
    expect((await redemptions()) - before).toBe(1);
  }
  const before = await redemptions();
  for (const ticket of ['x', 't_', `t_${'A'.repeat(42)}`, `t_${'A'.repeat(500)}`]) {
    expect([400, 401]).toContain(await offer(ticket));
  }
  expect(await redemptions()).toBe(before);
});

test('[HS10] given a lost reply to a ticket, it is not repeated and the close is not a refusal', async () => {
  const ticket = await ticketFor(await login('u_ticket'));
  const before = await redemptions();
  await cable.blackhole();
  expect(await offer(ticket)).toBe(503);
  await cable.pass();
  await until(async () => (await offer('t_nobody')) < 500, { what: 'the gateway', timeoutMs: 10_000 });
  expect((await redemptions()) - before).toBeLessThanOrEqual(1);
});

test('[HS4] given many forged tokens, they are refused without a store access and others connect', async () => {
  const one = await login('u_meanwhile');
  const forged = `${one.token.slice(0, -2)}${one.token.endsWith('AA') ? 'BB' : 'AA'}`;
  const asked = await gateway.metric('session_validations_total{result="invalid",source="service"}');
  const flood = Array.from({ length: 300 }, () =>
    tryUpgrade(gateway.url + PROTOCOL, { authorization: `Bearer ${forged}` }),
  );
  await works(await connected(one), 2);
  expect(new Set((await Promise.all(flood)).map(({ status }) => status))).toEqual(new Set([401]));
  expect(await gateway.metric('session_validations_total{result="invalid",source="service"}')).toBe(asked);
});

test('[GS8] given a flushed Redis, no socket closes, one request per 200 sessions is sent, and all can be ended', async () => {
  const all = await logins(50, 'u_flush_0');
  for (let n = 1; n < 8; n += 1) all.push(...(await logins(50, `u_flush_${n}`)));
  const sockets = await Promise.all(all.map((one) => connected(one)));
  const over = await login('u_flush_over');
  await sessions.bearer(over.token, 'DELETE', '/v1/session');
  const name = 'db_client_operation_duration_seconds_count{operation="find_sessions"}';
  const before = await sessions.metric(name);
  const checked = await gateway.metric('session_bus_gaps_total');
  await raw.flushall();
  await until(async () => (await gateway.metric('session_bus_gaps_total')) > checked, {
    what: 'the gateway to notice',
  });
  await until(async () => (await raw.keys('t:s:*')).length >= all.length, { what: 'snapshots again' });
  const questions = (await sessions.metric(name)) - before;
  expect(questions).toBeGreaterThan(0);
  expect(questions).toBeLessThanOrEqual(6);
  expect(sockets.filter((client) => !isOpen(client))).toEqual([]);
  expect((await sessions.bearer(over.token, 'GET', '/v1/session')).status).toBe(401);
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, n) => sessions.service('DELETE', `/v1/users/u_flush_${n}/sessions`)),
  );
  expect(answers.map(({ body }) => body.ended)).toEqual(Array.from({ length: 8 }, () => 50));
  const ms = await timed(Promise.all(sockets.map(({ closed }) => closed)));
  expect(ms).toBeLessThan(5000);
});

test('[GS6] given fifty ends during a silent subscription, exactly these sockets close before it recovers', async () => {
  const [witness, ...victims] = await logins(50, 'u_deaf');
  const staying = await connected(witness!);
  const sockets = await Promise.all(victims.map((one) => connected(one)));
  await cable.blackhole();
  for (const { id } of victims) expect((await sessions.service('DELETE', `/v1/sessions/${id}`)).status).toBe(204);
  const ms = await timed(Promise.all(sockets.map(({ closed }) => closed)));
  expect(ms).toBeLessThan(7000);
  expect(isOpen(staying)).toBe(true);
  await cable.pass();
  await until(
    async () => {
      staying.send({ id: 9, publish: { channel: 'alive', data: 9 } });
      return staying.frames.some((frame) => frame.includes('{"id":9,"publish":{}}'));
    },
    { what: 'the witness to go on', timeoutMs: 10_000, intervalMs: 250 },
  );
});
