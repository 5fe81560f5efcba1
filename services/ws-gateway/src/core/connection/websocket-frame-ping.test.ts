import { expect, test } from 'vitest';
import { engineUnderTest, FakeWire, settle } from '../engine-fixture.ts';
import { jsonCodec } from './codec.ts';
import { PING_FRAME } from './websocket-frame.ts';

const opened = async () => {
  const { engine, pass } = engineUnderTest();
  const wire = new FakeWire();
  const connection = engine.open(wire, {
    tokens: [],
    origin: undefined,
    codec: jsonCodec,
    pingsByFrame: true,
  });
  connection.onFrame('{"id":1,"connect":{"token":"ann"}}');
  await settle();
  const [reply] = wire.take();
  const frames: Buffer[] = [];
  wire.write = (frame) => void frames.push(frame);
  return { wire, connection, reply, frames, pass };
};

test('[HB3] [HB5] given frame pings, when the client answers them, then it stays open, and the reply to connect has no ping', async () => {
  const { wire, connection, reply, frames, pass } = await opened();
  expect(reply).toEqual({
    id: 1,
    connect: { client: expect.any(String), version: 'muster 0.0.0', data: expect.anything() },
  });
  for (let round = 0; round < 60; round++) {
    await pass(1_000);
    if (frames.splice(0).length > 0) connection.onPong();
    connection.onPong(); // Unsolicited pongs are allowed.
  }
  expect(wire.closed).toBeUndefined();
});

test('[HB6] [HB7] given frame pings, when they are not answered, then the connection is closed with 3012, and a protocol pong closes with 3501', async () => {
  const one = await opened();
  await one.pass(18_900 + 8_200);
  expect(one.frames).toEqual([PING_FRAME]);
  expect(one.wire.closed?.code).toBe(3012);
  const two = await opened();
  await two.pass(18_900);
  two.connection.onFrame('{}');
  expect(two.wire.closed?.code).toBe(3501);
});
