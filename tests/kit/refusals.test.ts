import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signToken, TOKEN_SECRET } from '../gateway/fake-application.ts';
import { openSocket, SERVER_KEY, startGateway, type TestGateway, tryUpgrade } from '../gateway/fixture.ts';
import { startService, type TestService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let service: TestService;
let gateway: TestGateway;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  service = stack.use(await startService(stores));
  gateway = stack.use(
    await startGateway(stores, service.opsUrl, {
      TOKEN_HMAC_SECRET: TOKEN_SECRET,
      TOKEN_AUDIENCE: 'muster',
    }),
  );
});
afterAll(() => stack.disposeAsync());

const lineOf = (of: { log: TestGateway['log'] }, event: string, requestId: string) =>
  until(() => of.log.lines.find((line) => line.event === event && line.fields['requestId'] === requestId), {
    what: `a line with ${requestId}`,
  });

test('[LG3] the request id that a refused caller is given stands in the log, with the reason', async () => {
  const refused = [
    await service.bearer('nonsense', 'GET', '/v1/session'),
    await service.service('POST', '/v1/sessions', { user_id: 7 }),
  ];
  for (const { status, body } of refused) {
    const line = await lineOf(service, 'http.request_refused', body.request_id);
    expect(line).toMatchObject({ level: 'info', fields: { status, reason: expect.any(String) } });
  }
});

test('[LG3] an origin that is refused is named, with the variable that allows it, and stands in the log', async () => {
  const { status, body } = await tryUpgrade(`${gateway.wsUrl}/connection/websocket`, {
    origin: 'https://elsewhere.example',
  });
  expect(status).toBe(403);
  const problem = JSON.parse(body);
  expect(problem.detail).toContain('https://elsewhere.example');
  expect(problem.detail).toContain('ALLOWED_ORIGINS');
  const line = await lineOf(gateway, 'gateway.handshake_refused', problem.request_id);
  expect(line?.fields).toMatchObject({ reason: 'origin_not_allowed', origin: 'https://elsewhere.example' });
});

test.each([
  ['signature', () => signToken({ aud: 'muster' }, 'another-secret-of-32-bytes-or-more!!')],
  ['audience', () => signToken({ aud: 'elsewhere' })],
  ['expired', () => signToken({ aud: 'muster', exp: Math.floor(Date.now() / 1000) - 60 })],
  ['sub_not_text', () => signToken({ aud: 'muster', sub: 7 })],
])(
  '[LG3] given a token refused in connect for %s, then one line and one count have the reason',
  async (reason, token) => {
    const counted = () => gateway.metric(`gateway_credentials_refused_total{at="connect",reason="${reason}"}`);
    const lines = () => gateway.log.of('gateway.connect_refused').filter(({ fields }) => fields['reason'] === reason);
    const before = await counted();
    const client = await openSocket(`${gateway.wsUrl}/connection/websocket`);
    client.send({ id: 1, connect: { token: await token() } });
    await Promise.race([client.closed, client.reply(1)]);
    client.socket.terminate();
    expect((await counted()) - before).toBe(1);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toMatchObject({ level: 'info', fields: { client: expect.any(String) } });
  },
);

describe('the server API', () => {
  const post = async (path: string, body: string, key = SERVER_KEY) => {
    const answer = await fetch(`${gateway.url}/api${path}`, {
      method: 'POST',
      headers: { 'x-api-key': key },
      body,
    });
    return { status: answer.status, id: answer.headers.get('x-request-id') ?? '', body: await answer.text() };
  };
  const countOf = async (name: string) => (await gateway.metric(name)) || 0;

  test.each([
    ['server_key', 401, ['/info', '{}', 'wrong']],
    ['server_key', 401, ['', '{}', '']],
    ['malformed', 400, ['/info', '[]']],
    ['malformed', 400, ['', 'nonsense']],
  ] as const)(
    '[LG3] given a request refused for %s with %d, then line and count have the reason: %j',
    async (reason, status, [path, body, key]) => {
      const name = `gateway_credentials_refused_total{at="api",reason="${reason}"}`;
      const before = await countOf(name);
      const answer = await post(path, body, key);
      expect(answer.status).toBe(status);
      expect((await countOf(name)) - before).toBe(1);
      const line = await lineOf(gateway, 'gateway.api_refused', answer.id);
      expect(line).toMatchObject({ level: 'info', fields: { reason } });
    },
  );

  test.each([
    ['bad_request', 107, 'publish', ['/publish', '{"chanel":"a"}']],
    ['method_not_found', 104, 'unknown', ['/nonsense', '{}']],
    ['method_not_found', 104, 'unknown', ['', '{"method":"nonsense"}']],
    ['bad_request', 107, 'publish', ['/batch', '{"commands":[{"publish":{}}]}']],
  ] as const)(
    '[LG3] given a call that fails with %s, then line and count have the reason, though the status is 200',
    async (reason, code, method, [path, body]) => {
      const name = `gateway_api_calls_total{method="${method}",result="${code}"}`;
      const before = await countOf(name);
      const answer = await post(path, body);
      expect(answer).toMatchObject({ status: 200, body: expect.stringContaining(String(code)) });
      expect((await countOf(name)) - before).toBe(1);
      const line = await lineOf(gateway, 'gateway.api_call_failed', answer.id);
      expect(line).toMatchObject({ level: 'info', fields: { reason, code, method } });
    },
  );
});
