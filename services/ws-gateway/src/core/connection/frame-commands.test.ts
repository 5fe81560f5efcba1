import { createMemoryBroker } from '@muster/bus/memory-broker';
import { expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

const retention = { size: 5, ttlMs: 60_000, metaTtlMs: 120_000 };
const subscribes = ['a', 'b', 'c', 'd', 'e'].map((channel, n) => ({ id: n + 2, subscribe: { channel } }));
const frame = [{ id: 1, connect: { token: 'ann' } }, ...subscribes];

test('[CN18] given connect and subscribe commands in one frame, when they are performed, then they are answered in one write, in order', async () => {
  const { client } = engineUnderTest({ limits: { maxSubscriptions: 5 }, groups: { retention, presence: true } });
  const { wire, say } = client();
  const replies = await say(...frame, { id: 7, subscribe: { channel: 'f' } });
  expect(replies.map((reply) => (reply as { id: number }).id)).toEqual([1, 7, 2, 3, 4, 5, 6]);
  expect(replies.at(1)).toMatchObject({ error: { code: 106 } });
  expect(wire.writes).toBe(1);
});

test('[CN18] given a group that cannot be opened soon, when a tick passes, then the other replies do not wait for it', async () => {
  const broker = createMemoryBroker();
  const { newest } = broker.streams;
  const held = Promise.withResolvers<void>();
  Object.assign(broker.streams, {
    newest: async (...asked: Parameters<typeof newest>) => {
      if (asked[0] === 'e') await held.promise;
      return newest(...asked);
    },
  });
  const { client, pass } = engineUnderTest({ broker, limits: { maxSubscriptions: 5 }, groups: { retention } });
  const open = client();
  expect(await open.say(...frame)).toEqual([]);
  await pass(100);
  const ids = () => open.wire.take().map((reply) => (reply as { id: number }).id);
  expect(ids()).toEqual([1, 2, 3, 4, 5]);
  held.resolve();
  await settle();
  expect(ids()).toEqual([6]);
});

test('[SW18] given 10,000 idle connections, when ticks pass, then none of them is visited', async () => {
  const { client, pass } = engineUnderTest({ limits: { pingIntervalMs: 3_600_000 } });
  let visits = 0;
  for (let n = 0; n < 10_000; n++) {
    const { wire, connection } = client();
    connection.onFrame('{"id":1,"connect":{"token":"ann"}}');
    const { onDue } = connection;
    Object.defineProperty(wire, 'bufferedBytes', {
      get: () => {
        visits += 1;
        return 0;
      },
    });
    connection.onDue = (now) => {
      visits += 1;
      onDue.call(connection, now);
    };
  }
  await settle();
  visits = 0;
  await pass(60_000);
  expect(visits).toBe(0);
});
