import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { createRefusalLog } from '@muster/kit/refusal-log';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { createRejectedCredentials } from '@muster/ws-gateway/auth/rejected-credentials';
import { engineUnderTest } from '@muster/ws-gateway/core/engine-fixture';
import { createExpressApp, createGatewayServer } from '@muster/ws-gateway/http/server';
import { createServerApiCalls } from '@muster/ws-gateway/http/server-api-calls';
import { expect, test } from 'vitest';

const KEYS = [
  { key: 'key-of-every-tenant', tenant: undefined },
  { key: 'key-of-the-shop-tenant', tenant: 'shop' },
];
const LIMIT = 2_000;
const RETENTION = { retention: { size: 5, ttlMs: 60_000, metaTtlMs: 60_000 } };

/** A server on an engine of its own, so that both have the same history. */
const open = async (stack: AsyncDisposableStack, listenerOf: typeof createGatewayServer) => {
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const { engine, broker } = engineUnderTest({ groups: RETENTION });
  const server = createServer(
    listenerOf({
      ...{ log, metrics, clock: systemClock, api: engine.api, maxBodyBytes: LIMIT },
      serverApiKeys: () => KEYS,
      refusals: createRejectedCredentials(metrics, createRefusalLog(log)),
      health: undefined as never,
      about: { service: 'test', version: '0', instance: 'test', startedAt: 0 },
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    broker,
    /** Sends the text and returns everything that is received until the server closes the connection, or nothing comes for a while. */
    exchange: (request: readonly (string | Buffer)[]): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1');
        let received = '';
        socket.setEncoding('utf8').on('data', (text) => {
          received += text;
        });
        socket.once('close', () => resolve(received)).once('error', reject);
        for (const part of request) socket.write(part);
      }),
    /** Sends the start of a request and disconnects. */
    abort: async (request: string): Promise<void> => {
      const socket = connect(port, '127.0.0.1');
      await new Promise<void>((resolve) => socket.write(request, () => resolve()));
      await until(async () => /active_requests 1/.test(await metrics.render()), { what: 'the request' });
      socket.destroy();
      await until(async () => /active_requests 0/.test(await metrics.render()), { what: 'its end' });
    },
    /** Metrics and log lines without durations. */
    observed: async () => {
      const counted = (await metrics.render())
        .split('\n')
        .filter((line) => /^(gateway_api|gateway_credentials|http_server)\w+(_total|_count|_requests)[{ ]/.test(line));
      return { counted: counted.sort(), lines: log.lines.map(({ event, fields }) => [event, fields]) };
    },
  };
};

const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}): (string | Buffer)[] => {
  const all = {
    Host: 'gateway',
    'X-API-Key': 'key-of-every-tenant',
    'X-Request-Id': 'request-1234',
    Connection: 'close',
    'Content-Length': String(Buffer.byteLength(body)),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`${name}: ${value}`]));
  return [`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`, body];
};
const room = (more: object = {}): string => JSON.stringify({ channel: 'room', data: { n: 1 }, ...more });

const REQUESTS: [string, (string | Buffer)[]][] = [
  ['a publication', post('/api/publish', room())],
  [
    'a publication with spaces in its payload',
    post('/api/publish', '{"channel":"room","data":{ "a" : [1, 2],\n"b":"\u{1f600}"}}'),
  ],
  ['a repeated idempotency key', post('/api/publish', room({ idempotency_key: 'k' }))],
  ['the idempotency key again', post('/api/publish', room({ idempotency_key: 'k' }))],
  ['a version', post('/api/publish', room({ version: 7 }))],
  ['an older version', post('/api/publish', room({ version: 6 }))],
  ['no history', post('/api/publish', room({ skip_history: true }))],
  ['a missing parameter', post('/api/publish', '{"chanel":"room","data":1}')],
  ['an invalid parameter', post('/api/publish', room({ version: -1 }))],
  ['a publication that is too large', post('/api/publish', room({ data: 'x'.repeat(LIMIT) }))],
  ['the error mode of a status', post('/api/publish', '{}', { 'X-Centrifugo-Error-Mode': 'transport' })],
  ['another error mode', post('/api/publish', '{}', { 'X-Centrifugo-Error-Mode': 'x' })],
  ['a broadcast', post('/api/broadcast', '{"channels":["room","a","caf\u00e9"],"data":1}')],
  ['a broadcast to no group', post('/api/broadcast', '{"channels":[],"data":1}')],
  [
    'a batch',
    post('/api/batch', '{"commands":[{"publish":{"channel":"a","data":1}},{"dance":{}},{"info":{}},{"batch":{}}]}'),
  ],
  ['a parallel batch', post('/api/batch', '{"parallel":true,"commands":[{"publish":{"channel":"a","data":1}}]}')],
  ['an empty batch', post('/api/batch', '{}')],
  ...['{', '[]', 'null', '"x"', ' ', '\ufeff{"channel":"room","data":1}', '\ufeff'].map(
    (body): [string, (string | Buffer)[]] => [`the body ${JSON.stringify(body)}`, post('/api/publish', body)],
  ),
  ['a body that is not UTF-8', post('/api/publish', Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))],
  ['text that is not UTF-8', post('/api/publish', Buffer.from('{"channel":"room","data":"caf\u00e9"}', 'latin1'))],
  ['an empty body', post('/api/publish', '')],
  ['no length and no body', post('/api/publish', '', { 'Content-Length': '' })],
  [
    'a chunked body',
    post('/api/publish', '8\r\n{"channe\r\n18\r\nl":"room","data":[1,2,3]}\r\n0\r\n\r\n', {
      'Content-Length': '',
      'Transfer-Encoding': 'chunked',
    }),
  ],
  ['a body in parts', [...post('/api/publish', room()).slice(0, 1), room().slice(0, 9), room().slice(9)]],
  ['a compressed body', post('/api/publish', room(), { 'Content-Encoding': 'gzip' })],
  ['an unknown encoding', post('/api/publish', room(), { 'Content-Encoding': 'x' })],
  ['the encoding identity', post('/api/publish', room(), { 'Content-Encoding': 'identity' })],
  ['a charset', post('/api/publish', room(), { 'Content-Type': 'application/json; charset=utf-8' })],
  [
    'another charset',
    post('/api/publish', Buffer.from(room({ data: 'caf\u00e9' }), 'latin1'), {
      'Content-Type': 'text/plain; charset=ISO-8859-1',
    }),
  ],
  ['an unknown charset', post('/api/publish', room(), { 'Content-Type': 'text/plain; charset=x' })],
  ['a form', post('/api/publish', room(), { 'Content-Type': 'application/x-www-form-urlencoded' })],
  ['an invalid content type', post('/api/publish', room(), { 'Content-Type': ';;;' })],
  ['an expectation', post('/api/publish', room(), { Expect: '100-continue' })],
  ['no key', post('/api/publish', room(), { 'X-API-Key': '' })],
  ['a wrong key', post('/api/publish', room(), { 'X-API-Key': 'key-of-every-tenanT' })],
  ['an authorization', post('/api/publish', room(), { 'X-API-Key': '', Authorization: 'apikey key-of-every-tenant' })],
  [
    'another authorization',
    post('/api/publish', room(), { 'X-API-Key': '', Authorization: 'Bearer key-of-every-tenant' }),
  ],
  ['a key in the query', post('/api/publish?api_key=key-of-every-tenant', room(), { 'X-API-Key': '' })],
  ['the key of a tenant', post('/api/publish', room(), { 'X-API-Key': 'key-of-the-shop-tenant' })],
  ['another tenant', post('/api/publish', room({ tenant: 'other' }), { 'X-API-Key': 'key-of-the-shop-tenant' })],
  ['the tenant *', post('/api/publish', room({ tenant: '*' }))],
  ['a slash at the end', post('/api/publish/', room())],
  ['another case', post('/api/Publish', room())],
  ['an escaped path', post('/api/publis%68', room())],
  ['an absolute URL', post('http://gateway/api/publish', room())],
  ['another method of the API', post('/api/info', '{}')],
  [
    'another HTTP method',
    [`GET /api/publish HTTP/1.1\r\nHost: gateway\r\nX-Request-Id: request-1234\r\nConnection: close\r\n\r\n`],
  ],
  [
    'HTTP/1.0',
    [
      `POST /api/publish HTTP/1.0\r\nX-API-Key: key-of-every-tenant\r\nX-Request-Id: request-1234\r\nContent-Length: ${room().length}\r\n\r\n`,
      room(),
    ],
  ],
  [
    'two requests on one connection',
    [...post('/api/publish', room(), { Connection: 'keep-alive' }), ...post('/api/publish', room())],
  ],
];

const both = async (stack: AsyncDisposableStack) => ({
  hot: await open(stack, createGatewayServer),
  plain: await open(stack, (deps): RequestListener => createExpressApp(deps, createServerApiCalls(deps))),
});

test('[AP49] given any request, when it is sent to the hot routes and to Express, then answers, metrics and log lines are equal', async () => {
  await using stack = new AsyncDisposableStack();
  const { hot, plain } = await both(stack);
  const withoutDate = (text: string): string => text.replace(/^Date: .*$/gm, 'Date:');
  for (const [name, request] of REQUESTS) {
    const [ours, theirs] = [await hot.exchange(request), await plain.exchange(request)];
    expect(ours, name).toMatch(/^HTTP\/1\.1 \d{3} /);
    expect([name, withoutDate(ours)]).toEqual([name, withoutDate(theirs)]);
  }
  hot.broker.stop();
  plain.broker.stop();
  const request = post('/api/publish', room(), { 'X-Centrifugo-Error-Mode': 'transport' });
  expect(withoutDate(await hot.exchange(request))).toEqual(withoutDate(await plain.exchange(request)));
  expect(await hot.observed()).toEqual(await plain.observed());
});

test('[AP50] given a client that disconnects within its body, when it is served by the hot routes or by Express, then the refusal is counted and logged equally', async () => {
  await using stack = new AsyncDisposableStack();
  const { hot, plain } = await both(stack);
  const [head] = post('/api/publish', room()) as [string];
  for (const one of [hot, plain]) await one.abort(`${head}{"chan`);
  await until(async () => (await hot.observed()).lines.length > 0, { what: 'the log line' });
  const [ours, theirs] = [await hot.observed(), await plain.observed()];
  expect(ours).toEqual(theirs);
  expect(ours.lines).toEqual([['http.request_refused', expect.objectContaining({ reason: 'malformed_request' })]]);
});

test('[AP49] given an id of the request that is missing or malformed, when a call is answered, then it has a new id', async () => {
  await using stack = new AsyncDisposableStack();
  const { hot } = await both(stack);
  for (const given of ['', 'short', 'not valid!']) {
    const answer = await hot.exchange(post('/api/publish', room(), { 'X-Request-Id': given }));
    expect(answer).toMatch(/^X-Request-Id: [\da-f]{8}-[\da-f-]{27}\r$/m);
  }
});
