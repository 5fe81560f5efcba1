import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { expect, test } from 'vitest';
import { openSocket, useFleet, webSocketWith } from './fixture.ts';

const fleet = useFleet({ env: { PING_INTERVAL_MS: '400', PONG_TIMEOUT_MS: '300' }, user: 'u_pings' });

const URL_PATH = '/connection/websocket?cf_ws_frame_ping_pong=true';

test.each([
  ['json', Centrifuge],
  ['protobuf', ProtobufCentrifuge],
] as const)(
  '[HB3] given an SDK client (%s) with frame pings, when time passes, then it stays connected',
  async (_, Build) => {
    const before = await fleet.gateway.metric('gateway_heartbeat_rtt_seconds_count');
    const client = new Build(fleet.gateway.wsUrl + URL_PATH, {
      token: fleet.token,
      websocket: webSocketWith({}),
    });
    const codes: number[] = [];
    client.on('connecting', ({ code }) => codes.push(code));
    client.connect();
    await client.ready(5_000);
    const answered = async () => (await fleet.gateway.metric('gateway_heartbeat_rtt_seconds_count')) - before;
    await until(async () => (await answered()) >= 3, { what: 'three answers', timeoutMs: 15_000 });
    expect(client.state).toBe('connected');
    expect(codes).toEqual([0]);
    client.disconnect();
  },
);

test('[HB5] [HB6] given a client with frame pings, when it does not answer, then it is closed with 3012', async () => {
  const client = await openSocket(fleet.gateway.wsUrl + URL_PATH);
  client.socket.pong = () => {};
  client.send({ id: 1, connect: { token: fleet.token } });
  const { connect } = await client.reply(1);
  expect(connect).not.toHaveProperty('ping');
  expect((await client.closed).code).toBe(3012);
  expect(client.frames).toHaveLength(1);
});
