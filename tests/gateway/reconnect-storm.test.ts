import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { MAX_REFUSALS, type ReconnectingClient, startReconnectingClient } from '../cluster/reconnecting-clients.ts';
import { startService, type TestService } from '../session/fixture.ts';
import { startGateway, type TestGateway } from './fixture.ts';

/** Clients that reconnect all the time; `tests/chaos/reconnect-storm.test.ts` has 5,000. */
const CLIENTS = 60;
const SESSIONS = 12;
const ENDED = 4;
const BOUND_MS = 250;
const DEAF_BOUND_MS = 5_000;
/** A machine that takes longer than this for a plain request is busy, and gets as much more time, to a limit. */
const IDLE_MS = 10;
const MOST_BUSY = 8;

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
const clients: ReconnectingClient[] = [];
let sessions: TestService;
/** Faults apply to the connection that receives the changes of sessions. */
let changes: FaultProxy;
let gateway: TestGateway;

beforeAll(async () => {
  sessions = stack.use(await startService(stores));
  changes = stack.use(await openFaultProxy(stores.redisUrl, { only: /#session-events/ }));
  gateway = stack.use(await startGateway({ ...stores, redisUrl: changes.url }, sessions.opsUrl));
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.stop();
  await changes.pass();
});
afterAll(() => stack.disposeAsync());

const login = async (user: string): Promise<{ id: string; token: string }> =>
  (await sessions.service('POST', '/v1/sessions', { user_id: user, transport: 'bearer' })).body;
const end = (id: string) => sessions.service('DELETE', `/v1/sessions/${id}`);
const start = ({ id, token }: { id: string; token: string }, pauseMs: () => number): ReconnectingClient => {
  const client = startReconnectingClient({ url: gateway.url, session: id, token, pauseMs });
  clients.push(client);
  return client;
};
/** Checks that needed no store. */
const fromCache = () => gateway.metric('session_validations_total{result="live",source="local"}');
const busyness = async (): Promise<number> => {
  const startedAt = performance.now();
  await (await fetch(`${gateway.url}/readyz`)).arrayBuffer();
  return Math.min(MOST_BUSY, Math.max(1, (performance.now() - startedAt) / IDLE_MS));
};

test('[RV17] given clients that reconnect all the time, when sessions end, then their sockets close within the bound and none is accepted again', async () => {
  const logins = await Promise.all(Array.from({ length: SESSIONS }, (_, index) => login(`u_storm_${index}`)));
  const all = Array.from({ length: CLIENTS }, (_, index) =>
    start(logins[index % SESSIONS] as (typeof logins)[number], () => Math.random() * 50),
  );
  await until(() => all.every(({ acceptedAt }) => acceptedAt > 0), { what: 'all clients to be accepted' });
  const cutting = setInterval(() => {
    for (const client of all) if (client.isOpen && Math.random() < 0.2) client.cut();
  }, 100);
  try {
    const before = await fromCache();
    for (const { id } of logins.slice(0, ENDED)) {
      const isOf = ({ session }: ReconnectingClient) => session === id;
      expect((await end(id)).status).toBe(204);
      const endedAt = performance.now();
      const own = all.filter(isOf);
      await until(() => own.every(({ refusals }) => refusals === MAX_REFUSALS), {
        what: 'all clients of the session to be refused',
        intervalMs: 5,
      });
      const bound = endedAt + BOUND_MS * (await busyness());
      for (const { acceptedAt, closedAt, code } of own) {
        expect(Math.max(acceptedAt, closedAt)).toBeLessThan(bound);
        expect(code).toBe(4501);
      }
    }
    await until(async () => (await fromCache()) > before + CLIENTS, { what: 'clients that needed no store' });
    const others = all.filter(({ session }) => logins.findIndex(({ id }) => id === session) >= ENDED);
    expect(others.filter(({ refusals }) => refusals > 0)).toEqual([]);
  } finally {
    clearInterval(cutting);
  }
}, 120_000);

test('[RV18] given a gateway that does not receive the changes of sessions, when clients return, then every session is checked, and ends apply within five seconds', async () => {
  const [ends, stays] = [await login('u_deaf_ends'), await login('u_deaf_stays')];
  const pauseMs = () => 20;
  const [doomed, other] = [start(ends, pauseMs), start(stays, pauseMs)];
  const reconnect = async (client: ReconnectingClient): Promise<void> => {
    const since = performance.now();
    client.cut();
    await until(() => client.acceptedAt > since, { what: 'the client to be accepted again', intervalMs: 5 });
  };
  await until(() => doomed.isOpen && other.isOpen, { what: 'both clients to be accepted' });
  const atFirst = await fromCache();
  await reconnect(other);
  expect(await fromCache()).toBeGreaterThan(atFirst);

  await changes.blackhole();
  expect((await end(ends.id)).status).toBe(204);
  const endedAt = performance.now();
  // It reconnects as often as it can, which the cache may allow until the silence is noticed.
  const cutting = setInterval(() => doomed.cut(), 40);
  await until(() => doomed.refusals === MAX_REFUSALS, { what: 'the client to be refused', timeoutMs: 20_000 });
  clearInterval(cutting);
  expect(doomed.acceptedAt - endedAt).toBeLessThan(DEAF_BOUND_MS * (await busyness()));
  expect(doomed.code).toBe(4501);

  const whileDeaf = await fromCache();
  for (let count = 0; count < 5; count += 1) await reconnect(other);
  expect(await fromCache()).toBe(whileDeaf);

  await changes.pass();
  await until(
    async () => {
      await reconnect(other);
      return (await fromCache()) > whileDeaf;
    },
    { what: 'sessions to be trusted again', timeoutMs: 20_000 },
  );
});
