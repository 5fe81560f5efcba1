import { migrate } from '@muster/session-service/postgres/migrate';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { openSocket, startGateway, type TestGateway, webSocketWith } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
let gateway: TestGateway;
let token: string;

beforeAll(async () => {
  sessions = await startService(stores);
  gateway = await startGateway(stores, sessions.opsUrl, { PING_INTERVAL_MS: '400', PONG_TIMEOUT_MS: '300' });
  const user_id = 'u_pings';
  token = (await sessions.service('POST', '/v1/sessions', { user_id, transport: 'bearer' })).body.token;
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await sessions[Symbol.asyncDispose]();
});

const URL_PATH = '/connection/websocket?cf_ws_frame_ping_pong=true';

test.each([
  ['json', Centrifuge],
  ['protobuf', ProtobufCentrifuge],
] as const)(
  '[HB3] given an SDK client (%s) with frame pings, when time passes, then it stays connected',
  async (_, Build) => {
    const before = await gateway.metric('gateway_heartbeat_rtt_seconds_count');
    const client = new Build(gateway.wsUrl + URL_PATH, { token, websocket: webSocketWith({}) });
    const codes: number[] = [];
    client.on('connecting', ({ code }) => codes.push(code));
    client.connect();
    await client.ready(5_000);
    const answered = async () => (await gateway.metric('gateway_heartbeat_rtt_seconds_count')) - before;
    await until(async () => (await answered()) >= 3, { what: 'three answers', timeoutMs: 15_000 });
    expect(client.state).toBe('connected');
    expect(codes).toEqual([0]);
    client.disconnect();
  },
);

test('[HB5] [HB6] given a client with frame pings, when it does not answer, then it is closed with 3012', async () => {
  const client = await openSocket(gateway.wsUrl + URL_PATH);
  client.socket.pong = () => {};
  client.send({ id: 1, connect: { token } });
  const { connect } = await client.reply(1);
  expect(connect).not.toHaveProperty('ping');
  expect((await client.closed).code).toBe(3012);
  expect(client.frames).toHaveLength(1);
});
