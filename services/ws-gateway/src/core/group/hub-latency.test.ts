import { expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

test('[ME1] given members, when publications are delivered, then one in sixteen is timed per gateway', async () => {
  const { connected, engine, metrics } = engineUnderTest();
  for (const user of ['ann', 'bob', 'bob']) {
    await (await connected(user)).say({ id: 2, subscribe: { channel: 'room' } });
  }
  for (let n = 0; n < 33; n++) await engine.api.call('publish', { channel: 'room', data: n });
  await settle();
  expect(metrics.deliveries).toEqual([0, 0, 0]);
  expect(metrics.fanouts).toHaveLength(33);
});

test('[ME2] given connections of either kind, when they close, then the duration is measured once', async () => {
  const { connected, plain, pass, metrics } = engineUnderTest({ limits: { pingIntervalMs: 3_600_000 } });
  const [client, bare] = [await connected(), await plain('room')];
  await pass(90_000);
  client.connection.onClosed(1000);
  client.connection.onClosed(1006);
  bare.connection.onClosed(1006);
  expect(metrics.lives).toEqual([90, 90]);
});
