import { expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

test('[ME1] the way of one publication in sixteen is timed, once per gateway and not per member', async () => {
  const { connected, engine, metrics } = engineUnderTest();
  for (const user of ['ann', 'bob', 'bob']) {
    await (await connected(user)).say({ id: 2, subscribe: { channel: 'room' } });
  }
  for (let n = 0; n < 33; n++) await engine.api.call('publish', { channel: 'room', data: n });
  await settle();
  expect(metrics.deliveries).toEqual([0, 0, 0]);
  expect(metrics.fanouts).toHaveLength(33);
});

test('[ME2] the life of a connection of either kind is measured when it ends, once', async () => {
  const { connected, plain, pass, metrics } = engineUnderTest({ limits: { pingIntervalMs: 3_600_000 } });
  const [client, bare] = [await connected(), await plain('room')];
  await pass(90_000);
  client.connection.onClosed(1000);
  client.connection.onClosed(1006);
  bare.connection.onClosed(1006);
  expect(metrics.lives).toEqual([90, 90]);
});
