import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { SERVER_KEY, startGateway, type TestGateway, webSocketWith } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
let gateways: readonly [TestGateway, TestGateway];

beforeAll(async () => {
  sessions = await startService(stores);
  const start = (INSTANCE_NAME: string) =>
    startGateway(stores, sessions.opsUrl, { INSTANCE_NAME, PERSONAL_GROUPS: 'user:#' });
  gateways = [await start('gw-one'), await start('gw-two')];
});
afterAll(async () => {
  for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
  await sessions[Symbol.asyncDispose]();
});

const BUILDS = { json: Centrifuge, protobuf: ProtobufCentrifuge };
const parsed = (data: unknown): unknown =>
  data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data;

const api = async (method: string, params: object) => {
  const headers = { 'x-api-key': SERVER_KEY };
  const answer = await fetch(`${gateways[0].url}/api/${method}`, {
    ...{ method: 'POST', headers },
    body: JSON.stringify(params),
  });
  return answer.json();
};

/** A client of one build and user, and its events outside of subscriptions of its own. */
const connect = async (build: keyof typeof BUILDS, user_id: string, gateway = gateways[1]) => {
  const { token } = (await sessions.service('POST', '/v1/sessions', { user_id, transport: 'bearer' })).body;
  const client = new BUILDS[build](`${gateway.wsUrl}/connection/websocket`, {
    ...{ token, websocket: webSocketWith({}), minReconnectDelay: 50, maxReconnectDelay: 300 },
  });
  const received: [string, unknown][] = [];
  client.on('publication', ({ channel, data }) => received.push([channel, parsed(data)]));
  client.on('message', ({ data }) => received.push(['message', parsed(data)]));
  client.on('subscribed', ({ channel, recovered }) => received.push([`in ${channel}`, recovered]));
  client.on('unsubscribed', ({ channel }) => received.push([`out ${channel}`, '']));
  client.connect();
  await client.ready(5_000);
  const drop = () =>
    (client as unknown as { _transport: { _transport: { terminate(): void } } })._transport._transport.terminate();
  return { client, received, drop };
};

test.each(['json', 'protobuf'] as const)(
  '[SS1] [SS3] given personal groups, when an SDK client (%s) reconnects, then it is subscribed and recovers what it missed',
  async (build) => {
    const user = `u_own_${build}`;
    const group = `user:#${user}`;
    const { client, received, drop } = await connect(build, user);
    await until(() => received.length === 1, { what: 'to be in' });
    await api('publish', { channel: group, data: 1 });
    await until(() => received.length === 2, { what: 'the first publication' });
    drop();
    await api('publish', { channel: group, data: 2 });
    await until(() => received.length === 4, { what: 'what was missed' });
    expect(received).toEqual([
      [`in ${group}`, false],
      [group, 1],
      [`in ${group}`, true],
      [group, 2],
    ]);
    client.disconnect();
  },
);

test.each(['json', 'protobuf'] as const)(
  '[SS9] [SS11] given a connected SDK client (%s), when a back end subscribes, sends and unsubscribes, then the client follows',
  async (build) => {
    const user = `u_led_${build}`;
    const { client, received, drop } = await connect(build, user);
    await until(() => received.length === 1, { what: 'to be in its own' });
    received.length = 0;
    expect(await api('subscribe', { user, channel: 'led' })).toEqual({ result: { clients: 1, gateways: 2 } });
    await api('publish', { channel: 'led', data: { build } });
    expect(await api('send', { user, data: 'alone' })).toEqual({ result: { clients: 1, gateways: 2 } });
    await until(() => received.length === 3, { what: 'all three' });
    expect(received).toEqual([
      ['in led', false],
      ['led', { build }],
      ['message', 'alone'],
    ]);
    received.length = 0;
    drop();
    await until(() => received.some(([what]) => what === 'in led'), { what: 'to be in again' });
    expect(received).toContainEqual(['in led', true]);
    received.length = 0;
    expect(await api('unsubscribe', { user, channel: 'led' })).toEqual({
      result: { clients: 1, gateways: 2 },
    });
    await until(() => received.length === 1, { what: 'to be out' });
    expect(received).toEqual([['out led', '']]);
    client.disconnect();
  },
);

test('[SS10] given a connected SDK, when a back end calls refresh with expired, then the SDK reconnects', async () => {
  const { client } = await connect('json', 'u_renewed');
  const codes: number[] = [];
  client.on('connecting', ({ code }) => codes.push(code));
  expect(await api('refresh', { user: 'u_renewed', expired: true })).toEqual({
    result: { clients: 1, gateways: 2 },
  });
  await until(() => codes.length === 1, { what: 'the end of the connection' });
  expect(codes).toEqual([3005]);
  await client.ready(5_000);
  client.disconnect();
});
