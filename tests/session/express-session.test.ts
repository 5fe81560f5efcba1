import type { AddressInfo } from 'node:net';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { RedisStore } from 'connect-redis';
import { sign } from 'cookie-signature';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiReply, cookieOf, SECRETS, startService, type TestService, tokenOf } from './fixture.ts';

const stores = useTestStores({ migrate });
const PREFIX = 'old:';
let stack: AsyncDisposableStack;
let service: TestService;
let old: string;

/** An application as there are many: express-session, connect-redis, the user in `passport.user`. */
const startOldApp = async (prefix: string): Promise<string> => {
  const client = createClient({ url: stores.redisUrl });
  await client.connect();
  stack.defer(() => client.close());
  const app = express();
  app.use(
    session({
      store: new RedisStore({ client, prefix }),
      secret: SECRETS[1]!,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 3_600_000 },
    }),
  );
  app.post('/login/:user', (req, res) => {
    Object.assign(req.session, { passport: { user: req.params.user }, cart: [1, 2] });
    res.sendStatus(204);
  });
  app.get('/id', (req, res) => void res.json({ id: req.sessionID }));
  const server = app.listen(0, '127.0.0.1');
  stack.defer(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  const prefix = stores.redisPrefix + PREFIX;
  service = stack.use(
    await startService(stores, {
      LEGACY_EXPRESS_SESSION: `redis:${prefix}`,
      LEGACY_USER_ID_PATH: 'passport.user',
    }),
  );
  old = await startOldApp(prefix);
});
afterAll(() => stack.disposeAsync());

const loginToOld = async (user: string): Promise<string> => {
  const answer = await fetch(`${old}/login/${user}`, { method: 'POST' });
  return answer.headers.get('set-cookie')?.split(';')[0] ?? '';
};
const me = (cookie: string) => service.cookie(cookie, 'GET', '/v1/session');
const cookiesOf = (answer: ApiReply) => answer.headers.getSetCookie();

test('[SE45] given a session of express-session, it is imported once', async () => {
  const cookie = await loginToOld('ann');
  const first = await me(cookie);
  expect(first.status).toBe(200);
  expect(first.body).toMatchObject({
    user_id: 'ann',
    kind: 'user',
    data: { passport: { user: 'ann' }, cart: [1, 2] },
    auth: { amr: ['legacy'] },
  });
  const [mine, theirs] = cookiesOf(first);
  expect(mine).toMatch(/^session_id=s%3A.*Max-Age=/);
  expect(theirs).toMatch(/^connect\.sid=; Max-Age=0/);
  expect((await me(mine!.split(';')[0]!)).body.id).toBe(first.body.id);
  const logout = await service.cookie(mine!.split(';')[0]!, 'DELETE', '/v1/session');
  expect(logout.status).toBe(204);
  expect((await me(cookie)).status).toBe(401);
});

test('[SE45] given concurrent requests, they receive the same session', async () => {
  const cookie = await loginToOld('bob');
  const answers = await Promise.all(Array.from({ length: 10 }, () => me(cookie)));
  const good = answers.filter(({ status }) => status === 200);
  expect(good.length).toBeGreaterThan(0);
  expect(new Set(good.map(({ body }) => body.id)).size).toBe(1);
  // Answers on both sides of a second differ in Max-Age, and in nothing else.
  const withoutAge = good.map((answer) => cookiesOf(answer)[0]?.replace(/Max-Age=\d+/, 'Max-Age=…'));
  expect(new Set(withoutAge).size).toBe(1);
  expect(withoutAge[0]).toContain('Max-Age=…');
  const list = await service.service('GET', '/v1/users/bob/sessions');
  expect(list.body.items).toHaveLength(1);
});

test('[SE92] given forged cookies or unknown sessions, there is no session; a change requires an own origin', async () => {
  const cookie = await loginToOld('eve');
  const value = decodeURIComponent(cookie.slice(cookie.indexOf('=') + 1));
  const sid = value.slice(2, value.lastIndexOf('.'));
  for (const text of [
    `s:${sid}.forged`,
    sid,
    `s:${sign(sid, 'another-secret-0123456789-abcdefghijkl')}`,
    `s:${sign('unknown', SECRETS[0]!)}`,
  ]) {
    expect((await me(`connect.sid=${encodeURIComponent(text)}`)).body.type).toBe('/problems/no-session');
  }
  const foreign = await service.call('PATCH', '/v1/session', {
    json: { label: 'x' },
    headers: { cookie, origin: 'https://evil.example' },
  });
  expect(foreign.status).toBe(403);
  const adopted = cookiesOf(foreign)[0]!.split(';')[0]!;
  expect((await me(adopted)).body.user_id).toBe('eve');
});

test('[SE93] given express-session with the same secret, it accepts the signature', async () => {
  const asked: string[] = [];
  const store = new session.MemoryStore();
  const get = store.get.bind(store);
  store.get = (sid, callback) => {
    asked.push(sid);
    get(sid, callback);
  };
  const app = express();
  app.use(session({ name: 'session_id', secret: SECRETS[0]!, store, resave: false, saveUninitialized: false }));
  app.get('/', (_req, res) => void res.sendStatus(204));
  const server = app.listen(0, '127.0.0.1');
  stack.defer(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const opened = await service.service('POST', '/v1/sessions', { user_id: 'u', transport: 'cookie' });
  const cookie = cookieOf(opened);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await fetch(url, { headers: { cookie } });
  await fetch(url, { headers: { cookie: `${cookie.slice(0, -1)}${cookie.endsWith('A') ? 'B' : 'A'}` } });
  const token = tokenOf(cookie);
  expect(asked).toEqual([token.slice(0, token.lastIndexOf('.'))]);
});
