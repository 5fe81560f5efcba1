import { execFile } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createSender, MusterError } from '@muster/client/http';
import { createGuest, createMySessions, createSessions } from '@muster/client/sessions';
import { listen } from '@muster/http/listen';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SERVICE_KEY, startService, type TestService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
beforeAll(async () => {
  service = stack.use(await startService(stores));
});
afterAll(() => stack.disposeAsync());

const NO_SESSION = '6a7f5f0e-3b1c-4d7e-9c55-0d6f6ed1a111';
const sessions = () => createSessions({ baseUrl: service.url, apiKey: SERVICE_KEY });

/** A server with given faults. */
const faulty = async (answer: (calls: number, req: IncomingMessage, res: ServerResponse) => void) => {
  const calls: string[] = [];
  const server = stack.use(
    await listen(
      (req, res) => {
        calls.push(`${req.method} ${req.url}`);
        answer(calls.length, req, res);
      },
      { host: '127.0.0.1', port: 0 },
    ),
  );
  return { baseUrl: `http://127.0.0.1:${server.port}`, calls };
};

test('[CL9] given a service that does not answer, when totalMs is set, then all tries end within it', async () => {
  const { baseUrl } = await faulty(() => {});
  const send = createSender({ baseUrl, totalMs: 400 }, { headers: {} });
  const startedAt = performance.now();
  await expect(send({ method: 'GET', path: '/v1/sessions' })).rejects.toMatchObject({ reason: 'network' });
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test('[CL10] given Node, when a realtime client is made and the command runs, then nothing is written to standard error', async () => {
  const realtime = new URL('../../packages/client/src/realtime.ts', import.meta.url).href;
  const script = `
    const before = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
    const { createRealtime } = await import(${JSON.stringify(realtime)});
    createRealtime({ baseUrl: 'http://127.0.0.1:1' });
    const after = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
    if (before?.get !== after?.get) console.error('localStorage was changed');
    console.log('made');`;
  const run = promisify(execFile);
  expect(await run(process.execPath, ['--input-type=module', '-e', script])).toEqual({
    stdout: 'made\n',
    stderr: '',
  });
  const main = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url));
  expect((await run(process.execPath, [main, '--version'])).stderr).toBe('');
});

test('[CL1] given an error response, when a call ends, then it rejects with reason, fields and request id', async () => {
  const refused = await sessions()
    .create({ user_id: '', label: 'x'.repeat(101) })
    .catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(MusterError);
  expect(refused).toMatchObject({
    status: 422,
    reason: 'validation',
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    failures: [{ loc: ['body', 'user_id'] }, { loc: ['body', 'label'] }],
  });
  await expect(createSessions({ baseUrl: service.url, apiKey: 'wrong' }).create({})).rejects.toMatchObject({
    status: 401,
  });
  await expect(createMySessions({ baseUrl: service.url, token: 'wrong' }).current()).rejects.toMatchObject({
    status: 401,
    reason: 'invalid-token',
  });
  expect(await sessions().get(NO_SESSION)).toBeUndefined();
});

test('[CL1] no answer at all has the reason network', async () => {
  const lost = createSessions({ baseUrl: 'http://127.0.0.1:1', apiKey: 'k', retries: 0 });
  await expect(lost.create({})).rejects.toMatchObject({ status: 0, reason: 'network' });
});

/** The service behind a proxy that loses the answer to each first request under a key: created, not acknowledged. */
const lossy = async () => {
  const keys: string[] = [];
  const server = await faulty(async (_calls, req, res) => {
    const body: Buffer[] = [];
    for await (const part of req) body.push(part as Buffer);
    const { host: _host, connection: _connection, ...headers } = req.headers;
    const answer = await fetch(service.url + req.url, {
      method: req.method ?? 'GET',
      headers: headers as Record<string, string>,
      ...(body.length === 0 ? {} : { body: Buffer.concat(body) }),
    });
    const text = await answer.text();
    const key = String(req.headers['idempotency-key'] ?? '');
    keys.push(key);
    if (key !== '' && keys.filter((one) => one === key).length === 1) {
      res.socket?.destroy();
      return;
    }
    for (const cookie of answer.headers.getSetCookie()) res.appendHeader('set-cookie', cookie);
    res.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
  });
  return { ...server, keys };
};

test('[CL6] what is made is made once when its answer is lost, with a fresh key for each call', async () => {
  const proxy = await lossy();
  const client = createSessions({ ...proxy, apiKey: SERVICE_KEY });
  const one = await client.create({ user_id: 'single use', transport: 'bearer' });
  const two = await client.create({ user_id: 'single use', transport: 'bearer' });
  const live = createMySessions({ baseUrl: service.url, token: two.token ?? '' });
  const listed = await Array.fromAsync(live.list());
  expect(listed.map(({ id }) => id)).toEqual([two.id, one.id]);

  const guest = await createGuest({ ...proxy, label: 'lost guest' });
  const upgraded = await client.upgrade(guest.id, { user_id: 'single use' });
  expect(upgraded).toMatchObject({ id: guest.id, user_id: 'single use', token: expect.any(String) });
  expect((await createMySessions({ baseUrl: service.url, token: upgraded.token ?? '' }).current()).id).toBe(guest.id);
  const guests = await withClient(stores.databaseUrl, (db) =>
    db.query(`SELECT 1 FROM sessions WHERE label = 'lost guest'`),
  );
  expect(guests.rows).toHaveLength(1);

  expect(proxy.keys).toHaveLength(8);
  expect(new Set(proxy.keys).size).toBe(4);
  for (const key of proxy.keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
});

test('[CL6] a key that the application gives is the key of the call', async () => {
  const create = () => sessions().create({ user_id: 'given', transport: 'bearer' }, { idempotencyKey: 'order-17' });
  const [one, two] = [await create(), await create()];
  expect(two).toEqual(one);
});

test('[CL7] a cookie session reaches the browser: given back, and written to the answer', async () => {
  const opened = await sessions().create({ user_id: 'web', transport: 'cookie' });
  expect(opened.token).toBeUndefined();
  expect(opened.setCookie).toEqual([expect.stringMatching(/^session_id=.+HttpOnly/)]);

  const app = await faulty((_calls, _req, res) => {
    void sessions()
      .create({ user_id: 'web', transport: 'cookie' }, { res: res.appendHeader('Set-Cookie', ['a=b']) })
      .then(() => res.writeHead(303, { location: '/' }).end());
  });
  const answer = await fetch(app.baseUrl, { redirect: 'manual' });
  const cookies = answer.headers.getSetCookie();
  expect(cookies).toEqual(['a=b', expect.stringMatching(/^session_id=/)]);
  const browser = { cookie: cookies.at(-1)?.split(';')[0] ?? '' };
  const seen = await fetch(`${service.url}/v1/session`, { headers: browser });
  expect(await seen.json()).toMatchObject({ user_id: 'web', current: true });
});

test('[CL2] calls that may run twice are tried again, others are not', async () => {
  const flaky = await faulty((calls, _req, res) => {
    if (calls % 3 === 0) res.writeHead(200, { 'content-type': 'application/json' }).end('{"id":"one"}');
    else res.writeHead(503, { 'retry-after': '0' }).end();
  });
  const client = createSessions({ ...flaky, apiKey: 'k' });
  expect(await client.get(NO_SESSION)).toEqual({ id: 'one' });
  expect(flaky.calls).toHaveLength(3);
  const send = createSender(flaky, { headers: {} });
  const post = { method: 'POST', path: '/v1/x' } as const;
  await expect(send(post)).rejects.toMatchObject({ status: 503, retryAfterS: 0 });
  expect(flaky.calls).toHaveLength(4);
  await expect(send({ ...post, idempotencyKey: true })).resolves.toMatchObject({ body: { id: 'one' } });
});

test('[CL2] a refusal that another try would not change is not tried again', async () => {
  const stubborn = await faulty((_calls, _req, res) => void res.writeHead(403).end());
  await expect(createSessions({ ...stubborn, apiKey: 'k' }).get(NO_SESSION)).rejects.toMatchObject({
    status: 403,
    reason: 'http-403',
  });
  expect(stubborn.calls).toHaveLength(1);
});

test('[CL3] a list follows its pages, and ends go where they should', async () => {
  const made = await Promise.all(
    Array.from({ length: 7 }, () => sessions().create({ user_id: 'pages', transport: 'bearer' })),
  );
  const mine = createMySessions({ baseUrl: service.url, token: made[0]?.token ?? '' });
  const listed = await Array.fromAsync(mine.list({ pageSize: 3 }));
  expect(listed.map(({ id }) => id).toSorted()).toEqual(made.map(({ id }) => id).toSorted());
  expect(listed.filter(({ current }) => current).map(({ id }) => id)).toEqual([made[0]?.id]);

  expect(await mine.end(made[1]?.id ?? '')).toEqual({ propagation: 'done' });
  expect(await mine.endOthers()).toBe(5);
  expect(await mine.signOut()).toEqual({ propagation: 'done' });
  await expect(mine.current()).rejects.toMatchObject({ reason: 'session-ended' });
});

test('a guest gets a token where guests are allowed', async () => {
  const guest = await createGuest({ baseUrl: service.url, label: 'phone' });
  const mine = createMySessions({ baseUrl: service.url, token: guest.token ?? '' });
  expect(await mine.current()).toMatchObject({ kind: 'guest', label: 'phone', user_id: null });
});

test('[CL5] an id that is not a UUID is a TypeError, and no request', async () => {
  const server = await faulty((_calls, _req, res) => void res.writeHead(204).end());
  const ofBackEnd = createSessions({ ...server, apiKey: 'k' });
  const mine = createMySessions({ ...server, token: 't' });
  const calls = [ofBackEnd.get, ofBackEnd.end, mine.end];
  const wrong = ['', '.', '..', '%2e', '/', 'me', ' ', '*', `${NO_SESSION}/..`, `${NO_SESSION}?all=true`];
  for (const id of [...wrong, undefined, null, 7, {}] as string[]) {
    for (const call of calls) await expect(call(id), String(id)).rejects.toThrow(TypeError);
  }
  expect(server.calls).toEqual([]);
  await mine.end(NO_SESSION.toUpperCase());
  expect(server.calls).toEqual([`DELETE /v1/me/sessions/${NO_SESSION}`]);
});

test('[CL5] a path that a URL parser would change is a TypeError, and no request', async () => {
  const server = await faulty((_calls, _req, res) => void res.writeHead(204).end());
  const send = createSender(server, { headers: {} });
  const wrong = ['', 'v1', '/', '/v1/', '/v1//x', '/v1/./x', '/v1/x/..', '/v1/%2E%2e/x', '/v1/x?all=true', '/v1/x#y'];
  for (const path of wrong) {
    await expect(send({ method: 'DELETE', path }), path).rejects.toThrow(TypeError);
  }
  expect(server.calls).toEqual([]);
});

test('[CL5] given a call that ends all sessions, when it is sent, then it has all=true', async () => {
  const server = await faulty((_calls, _req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"ended":2}');
  });
  const mine = createMySessions({ ...server, token: 't' });
  await mine.endAll();
  await mine.endOthers();
  expect(server.calls).toEqual(['DELETE /v1/me/sessions?all=true', 'DELETE /v1/me/sessions?except=current']);
  const made = await sessions().create({ user_id: 'everywhere', transport: 'bearer' });
  const own = createMySessions({ baseUrl: service.url, token: made.token ?? '' });
  expect(await own.endAll()).toBe(1);
  await expect(own.current()).rejects.toMatchObject({ reason: 'session-ended' });
});
