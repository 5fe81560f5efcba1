import { connect } from 'node:net';
import { createHttpApp } from '@muster/http/app';
import { listen } from '@muster/http/listen';
import { route } from '@muster/http/route';
import { createLogger } from '@muster/kit/logger';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { AppError } from '@muster/protocol/errors';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';

let metrics: Metrics;
let base = '';
let port = 0;
let close = async () => {};

beforeAll(async () => {
  metrics = createMetrics({ service: 'http-test', version: '0' });
  const app = createHttpApp({
    log: createLogger({ level: 'silent', service: 'http-test', instance: 'one' }),
    metrics,
    documents: { title: 'Things', version: '1', description: 'A test.' },
    bodyLimitBytes: 1_000,
    routes: [
      route({
        method: 'post',
        path: '/things/:id',
        summary: 'Make a thing',
        params: z.object({ id: z.uuid() }),
        query: z.strictObject({ mode: z.enum(['fast', 'slow']).optional() }),
        body: z.strictObject({
          name: z.string().min(2),
          tags: z.array(z.string()).max(2).optional(),
          data: z.any().optional(),
        }),
        responses: { 201: { description: 'Made' }, 422: { description: 'Invalid' } },
        guard: (req) => {
          if (req.headers.authorization !== 'Bearer yes') throw new AppError('INVALID_KEY');
        },
        handle: ({ params, body }) => ({ status: 201, body: { id: params.id, name: body.name } }),
      }),
      route({
        method: 'post',
        path: '/forms',
        summary: 'Takes forms too',
        security: ['serviceKey', 'nothing'],
        forms: 'also',
        body: z.strictObject({ name: z.string().max(20) }),
        responses: { 200: { description: 'Taken' } },
        handle: ({ body }) => ({ status: 200, body }),
      }),
      route({
        method: 'post',
        path: '/forms-only',
        summary: 'Takes nothing but forms',
        forms: 'only',
        body: z.object({ name: z.string() }),
        responses: { 200: { description: 'Taken' } },
        handle: ({ body }) => ({ status: 200, body }),
      }),
      route({
        method: 'get',
        path: '/boom',
        summary: 'Fails',
        responses: { 200: { description: 'Never' } },
        handle: () => {
          throw new Error('the secret is 42');
        },
      }),
    ],
  });
  const server = await listen(app, { host: '127.0.0.1', port: 0 });
  port = server.port;
  base = `http://127.0.0.1:${server.port}`;
  close = async () => server[Symbol.asyncDispose]();
});
afterAll(() => close());

const ID = '6a7f5f0e-3b1c-4d7e-9c55-0d6f6ed1a111';
const post = (body: string, headers: Record<string, string> = {}, path = `/things/${ID}`) =>
  fetch(base + path, {
    method: 'POST',
    body,
    headers: { authorization: 'Bearer yes', 'content-type': 'application/json', ...headers },
  });

test('[HT1] [HT19] given an unknown path or method, then the answer is a problem', async () => {
  const missing = await fetch(`${base}/nowhere`);
  expect(missing.status).toBe(404);
  expect(missing.headers.get('content-type')).toMatch('application/problem+json');
  expect(await missing.json()).toMatchObject({ type: '/problems/not-found', status: 404 });
  const wrong = await fetch(`${base}/boom`, { method: 'DELETE' });
  expect(wrong.status).toBe(405);
  expect(wrong.headers.get('allow')).toBe('GET, HEAD');
  expect((await fetch(`${base}/things/%E0%A4%A`, { method: 'POST' })).status).toBe(400);
});

test('[HT2] [HT20] given a JSON route, then a body of another type is a 415 and an absent body a 422', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json; charset=latin1', '']) {
    expect((await post('{"name":"ab"}', { 'content-type': type })).status, type).toBe(415);
  }
  expect((await post('{"name":"ab","data":1}', { 'content-type': 'application/json; charset=utf-8' })).status).toBe(
    201,
  );
  expect((await post('')).status).toBe(422);
});

test('[HT14] a route may take forms, beside JSON or instead of it', async () => {
  const form = { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8' };
  const also = await post('name=a%26b+c%C3%A9', form, '/forms');
  expect([also.status, await also.json()]).toEqual([200, { name: 'a&b cé' }]);
  expect((await post('{"name":"a"}', {}, '/forms')).status).toBe(200);
  expect((await post('name=a', form, '/forms-only')).status).toBe(200);
  expect((await post('{"name":"a"}', {}, '/forms-only')).status).toBe(415);
  expect((await post('name=a', { 'content-type': 'text/plain' }, '/forms')).status).toBe(415);
  expect((await post('name=a', form)).status).toBe(415);
});

test('[HT14] a form is validated like JSON: doubled and unknown members, too much of it', async () => {
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  for (const body of [
    '',
    'name',
    '&&=&',
    'name=a&name=b',
    'name=a&__proto__=b',
    'name=%00',
    `name=${'x'.repeat(21)}`,
  ]) {
    const answer = await post(body, form, '/forms');
    expect([answer.status, body], await answer.text()).toEqual([body === 'name' ? 200 : 422, body]);
  }
  expect((await post(`name=${'x'.repeat(2_000)}`, form, '/forms')).status).toBe(413);
});

test('[HT14] the document lists the encodings of a route, and an optional key', async () => {
  const { paths } = (await (await fetch(`${base}/openapi.json`)).json()) as {
    paths: Record<string, { post: { requestBody: { content: object }; security: unknown } }>;
  };
  const types = (path: string) => Object.keys(paths[path]!.post.requestBody.content);
  expect(types('/forms')).toEqual(['application/json', 'application/x-www-form-urlencoded']);
  expect(types('/forms-only')).toEqual(['application/x-www-form-urlencoded']);
  expect(paths['/forms']!.post.security).toEqual([{ serviceKey: [] }, {}]);
});

test('[HT3] given malformed JSON, then the failure has its offset', async () => {
  const answer = await post('{"name": nope}');
  expect(answer.status).toBe(422);
  const { detail } = (await answer.json()) as { detail: unknown[] };
  expect(detail).toEqual([{ loc: ['body', expect.any(Number)], msg: 'JSON decode error', type: 'json_invalid' }]);
});

test('[HT4] [HT21] given an invalid request, then every failure is listed without the input', async () => {
  const answer = await post(
    '{"name":"x","tags":["a","b","c"],"data":1,"extra":"evil-input"}',
    {},
    '/things/UPPER?mode=odd&n=1',
  );
  expect(answer.status).toBe(422);
  const text = await answer.text();
  expect(text).not.toContain('evil-input');
  expect(JSON.parse(text).detail.map((one: { loc: unknown; type: string }) => [one.loc, one.type])).toEqual([
    [['path', 'id'], 'uuid_parsing'],
    [['query', 'mode'], 'enum'],
    [['query', 'n'], 'extra_forbidden'],
    [['body', 'name'], 'string_too_short'],
    [['body', 'tags'], 'too_long'],
    [['body', 'extra'], 'extra_forbidden'],
  ]);
  const empty = await (await post('{}')).json();
  expect(empty).toMatchObject({
    detail: [{ loc: ['body', 'name'], type: 'missing', msg: 'Field required' }],
  });
});

test('[HT5] what no store can keep is refused', async () => {
  const deep = `${'['.repeat(101)}${']'.repeat(101)}`;
  for (const data of ['{"a":"\\u0000"}', '["\\ud800"]', '{"\\udc00":1}', '1e400', deep]) {
    expect((await post(`{"name":"ok","data":${data}}`)).status, data).toBe(422);
  }
});

test('[HT6] a body beyond the limit is refused', async () => {
  expect((await post(JSON.stringify({ name: 'x'.repeat(2_000) }))).status).toBe(413);
});

test('[HT7] given a handler that throws, then the answer does not contain the cause', async () => {
  const answer = await fetch(`${base}/boom`);
  expect(answer.status).toBe(500);
  expect(await answer.text()).not.toMatch(/secret|at .*ts/);
});

test('[HT8] [HT22] [HT23] given a request id, then it is kept if valid, replaced if not, and in the problem', async () => {
  const kept = await fetch(`${base}/nowhere`, { headers: { 'x-request-id': 'abcdef-123' } });
  expect(kept.headers.get('x-request-id')).toBe('abcdef-123');
  expect(await kept.json()).toMatchObject({ request_id: 'abcdef-123' });
  const replaced = await fetch(`${base}/nowhere`, { headers: { 'x-request-id': 'a b<script>' } });
  expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
});

test('[HT9] given an invalid body without a credential, then the guard answers', async () => {
  expect((await post('{"name": nope}', { authorization: 'Bearer no' })).status).toBe(401);
});

test('[HT10] refusals are counted by code', async () => {
  await fetch(`${base}/nowhere`);
  expect(await metrics.render()).toMatch(/http_server_refusals_total\{code="NOT_FOUND"\} [1-9]/);
});

test('[HT11] [HT24] the document describes the routes, and its page loads from the same origin', async () => {
  const document = (await (await fetch(`${base}/openapi.json`)).json()) as { openapi: string; paths: object };
  expect(document.openapi).toBe('3.1.0');
  expect(document.paths).toHaveProperty(['/things/{id}', 'post', 'requestBody']);
  const page = await (await fetch(`${base}/docs`)).text();
  const loaded = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path as string);
  expect(loaded).toHaveLength(3);
  for (const path of loaded) {
    expect(path.startsWith('/docs/')).toBe(true);
    expect((await fetch(base + path)).status).toBe(200);
  }
});

test('[HT12] [HT25] given a request that the HTTP parser refuses, then the answer is 400 or 431', async () => {
  expect(await raw('NONSENSE\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*problem\+json.*malformed-request/s);
  expect(await raw(`GET / HTTP/1.1\r\nHost: a\r\nCookie: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
});

const raw = (text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('data', (part) => {
      answer += part;
    });
    socket.on('error', reject).on('close', () => resolve(answer));
  });

test('[HT15] given a body that arrives byte by byte, then the answer is 408 and the connection is closed', async () => {
  const slow = await listen((req, res) => req.resume().once('end', () => res.end('read')), {
    host: '127.0.0.1',
    port: 0,
    requestTimeoutMs: 400,
  });
  const socket = connect(slow.port, '127.0.0.1');
  let text = '';
  let sent = 0;
  socket.on('data', (data) => {
    text += data.toString();
  });
  socket.on('error', () => {});
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n');
  const drip = setInterval(() => {
    sent += 1;
    socket.write('x');
  }, 50);
  await new Promise((resolve) => socket.once('close', resolve));
  clearInterval(drip);
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(text).toContain('/problems/request-timeout');
  expect(sent).toBeLessThan(1_000);
  await slow[Symbol.asyncDispose]();
});

test('[HT18] an extra slash, an empty id and another case are other paths', async () => {
  const id = '3f1f0c55-3d9b-4a53-9d1a-000000000000';
  const ask = async (path: string) =>
    (
      await fetch(`${base}${path}`, {
        method: 'POST',
        headers: { authorization: 'Bearer yes', 'content-type': 'application/json' },
        body: '{"name":"ann"}',
      })
    ).status;
  expect(await ask(`/things/${id}`)).toBe(201);
  for (const path of [
    `/things/${id}/`,
    `/Things/${id}`,
    '/things/',
    '/things',
    `/things//${id}`,
    '/forms/',
    '/docs/',
  ]) {
    expect([path, await ask(path)]).toEqual([path, 404]);
  }
});

test('[HT17] names that reach prototypes are failures at any depth', async () => {
  const failuresOf = async (body: string) => {
    const answer = await fetch(`${base}/things/3f1f0c55-3d9b-4a53-9d1a-000000000000`, {
      method: 'POST',
      headers: { authorization: 'Bearer yes', 'content-type': 'application/json' },
      body,
    });
    const { detail } = (await answer.json()) as { detail?: { loc: unknown[] }[] };
    return { status: answer.status, at: (detail ?? []).map(({ loc }) => loc.join('.')) };
  };
  expect(await failuresOf('{"name":"ann","data":{"a":[{"__proto__":1}]}}')).toEqual({
    status: 422,
    at: ['body.data.a.0.__proto__'],
  });
  expect((await failuresOf('{"name":"ann","__proto__":{"x":1}}')).at).toContain('body.__proto__');
  expect((await failuresOf('{"name":"ann","data":{"constructor":{"prototype":{}}}}')).at).toEqual([
    'body.data.constructor',
    'body.data.constructor.prototype',
  ]);
  expect((await failuresOf('{"name":"ann","data":{"proto":1,"_proto_":["__proto__"]}}')).status).toBe(201);
});
