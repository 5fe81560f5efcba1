import { expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const publish = (data: string) => ['publish', { channel: 'room', data }] as const;

test('[SW6] [SW15] given a client that reads nothing, when WRITE_TIMEOUT_MS pass, then it is closed with 3009, and a slow reader is not', async () => {
  const { connected, plain, engine, pass, metrics } = engineUnderTest({
    limits: { writeTimeoutMs: 20_000, pingIntervalMs: 3_600_000 },
  });
  const [dead, slow] = [await connected('ann'), await connected('bob')];
  const deadPlain = await plain('room');
  for (const { say } of [dead, slow]) await say({ id: 2, subscribe: { channel: 'room' } });
  for (const { wire } of [dead, slow, deadPlain]) wire.isRead = false;
  await engine.api.call(...publish('x'.repeat(5_000)));
  await pass(100);
  for (let second = 0; second < 30; second++) {
    slow.wire.read(100);
    await pass(1_000);
    if (second === 17) expect(dead.wire.closed).toBeUndefined();
  }
  for (const { wire } of [dead, deadPlain]) expect(wire.closed).toEqual({ code: 3009, reason: 'write error' });
  expect(slow.wire.closed).toBeUndefined();
  expect(metrics.slow).toEqual(['stalled', 'stalled']);
  expect(engine.counts()).toMatchObject({ connections: 1, plain: 0 });
});

test('[SW7] given an unread ping, when its pong is late, then the connection stays open until the ping is read', async () => {
  const { connected, pass } = engineUnderTest({ limits: { writeTimeoutMs: 600_000 } });
  const [slow, silent] = [await connected('ann'), await connected('bob')];
  slow.wire.isRead = false;
  await pass(60_000);
  expect(silent.wire.closed).toEqual({ code: 3012, reason: 'no pong' });
  expect(slow.wire.closed).toBeUndefined();
  slow.wire.read();
  await pass(1_000);
  expect(slow.wire.closed).toEqual({ code: 3012, reason: 'no pong' });
});
