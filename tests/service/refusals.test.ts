import { migrate } from '@muster/session-service/store/migrate';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGateway, type TestGateway, tryUpgrade } from './gateway-fixture.ts';
import { startService, type TestService } from './session-fixture.ts';

const stores = useTestStores({ migrate });
const KEY = 'a-secret-of-the-application-0123456789';
let stack: AsyncDisposableStack;
let service: TestService;
let gateway: TestGateway;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  service = stack.use(await startService(stores));
  gateway = stack.use(
    await startGateway(stores, service.opsUrl, {
      CLIENT_TOKEN_SECRETS: KEY,
      CLIENT_TOKEN_AUDIENCE: 'muster',
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
