import { migrate } from '@muster/session-service/store/migrate';
import { useTestStores } from '@muster/testkit/stores';
import { Centrifuge } from 'centrifuge';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startGateway, type TestGateway } from './gateway-fixture.ts';
import { startService, type TestService } from './session-fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
let gateway: TestGateway;

beforeAll(async () => {
  service = stack.use(await startService(stores));
  gateway = stack.use(await startGateway(stores, service.opsUrl));
});
afterAll(() => stack.disposeAsync());

test('[GS10] a guest who signs in is connected again as a user, with the new token', async () => {
  const guest = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
  let token: string = guest.token;
  const users: string[] = [];
  const client = new Centrifuge(`${gateway.wsUrl}/connection/websocket`, {
    websocket: WebSocket,
    minReconnectDelay: 10,
    getToken: async () => token,
  });
  const codes: number[] = [];
  client.on('connecting', ({ code }) => codes.push(code));
  const connectedAs = (count: number) =>
    new Promise<void>((resolve) => {
      client.on('connected', ({ data }) => {
        if (users.length < count) users.push(data.user);
        if (users.length === count) resolve();
      });
    });
  const first = connectedAs(1);
  client.connect();
  await first;
  const second = connectedAs(2);
  const upgraded = await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: 'ann' });
  expect(upgraded.status).toBe(200);
  token = upgraded.body.token;
  await second;
  expect(users).toEqual([`guest:${guest.id.slice(0, 8)}`, 'ann']);
  expect(codes).toContain(3014);
  client.disconnect();
});

test('[GS10] after a mere rotation the connection stays', async () => {
  const login = await service.service('POST', '/v1/sessions', { user_id: 'bob', transport: 'bearer' });
  const { id, token } = login.body;
  const client = new Centrifuge(`${gateway.wsUrl}/connection/websocket`, { websocket: WebSocket, token });
  client.connect();
  await client.ready(5_000);
  const closed = new Promise((resolve) => client.once('connecting', resolve));
  expect((await service.bearer(token, 'POST', '/v1/session/rotate')).status).toBe(200);
  // Changes arrive in order: had the rotation closed it, the first reason would be another one.
  const raised = await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2, amr: ['otp'] });
  expect(raised.status).toBe(200);
  expect(await closed).toMatchObject({ code: 3014, reason: 'session renewed: step_up' });
  client.disconnect();
});
