import { expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const rate = { perSecond: 10, burst: 20 };
const publish = (id: number) => ({ id, publish: { channel: 'room', data: id } });
const codes = (replies: unknown[]) => (replies as { error?: { code: number } }[]).map(({ error }) => error?.code ?? 0);

test('[RL1] given a rate, when a client sends more than the burst, then the excess is error 111 and the connection stays open', async () => {
  const { connected, pass } = engineUnderTest({ limits: { rate } });
  const { say, wire } = await connected();
  const replies = codes(await say(...Array.from({ length: 25 }, (_, n) => publish(n + 10))));
  expect(replies.filter((code) => code === 0)).toHaveLength(20);
  expect(replies.filter((code) => code === 111)).toHaveLength(5);
  await pass(500);
  expect(codes(await say(...Array.from({ length: 8 }, (_, n) => publish(n + 50)))).toSorted()).toEqual([
    ...[0, 0, 0, 0, 0],
    ...[111, 111, 111],
  ]);
  expect(wire.closed).toBeUndefined();
});

test('[RL2] given a client above its rate, when it continues, then it is closed with 3013', async () => {
  const { connected } = engineUnderTest({ limits: { rate } });
  const { say, wire } = await connected();
  for (let round = 0; round < 30 && wire.closed === undefined; round++) {
    await say(...Array.from({ length: 50 }, (_, n) => publish(n + 10)));
  }
  expect(wire.closed).toEqual({ code: 3013, reason: 'too many requests' });
});

test('[RL3] [RL6] given a client at its rate, when another client sends commands, then they are executed, and pongs are not counted', async () => {
  const { connected, pass } = engineUnderTest({ limits: { rate } });
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  await ann.say(...Array.from({ length: 40 }, (_, n) => publish(n + 10)));
  expect(codes(await bob.say(publish(3)))).toEqual([0]);
  await pass(19_000);
  ann.connection.onFrame('{}');
  expect(ann.wire.closed).toBeUndefined();
});

test('[RL4] given a plain client above its rate, when it sends, then it receives error messages', async () => {
  const { plain } = engineUnderTest({ limits: { rate } });
  const { connection, wire } = await plain('room');
  for (let n = 0; n < 25; n++) connection.onFrame('hello');
  expect(wire.take()).toEqual(Array(5).fill({ type: 'error', code: 111, message: 'too many requests' }));
  for (let n = 0; n < 1000; n++) connection.onFrame('hello');
  expect(wire.closed?.code).toBe(3013);
});
