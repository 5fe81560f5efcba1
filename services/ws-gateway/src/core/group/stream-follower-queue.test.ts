import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import { encodeForPublish } from '@muster/bus/publication-encoding';

import { expect, test } from 'vitest';
import { settle } from '../engine-fixture.ts';
import { StreamFollower } from './stream-follower.ts';

const ROOM = 'room' as GroupKey;
const RETENTION = { size: 1_000, ttlMs: 60_000, metaTtlMs: 120_000 };
const MAX_BYTES = 65_536;

/** A follower whose second reading of the stream waits until the test lets it go. */
const scene = async () => {
  const broker = createMemoryBroker();
  const held = Promise.withResolvers<void>();
  const heard: number[] = [];
  const kept: number[] = [];
  let reads = 0;
  const group = {
    key: ROOM,
    pace: async () => {},
    deliver: ({ offset }: BusMessage) => heard.push(offset),
    resync: () => heard.push(-1),
  };
  const follower: StreamFollower = new StreamFollower(group, RETENTION, {
    streams: {
      ...broker.streams,
      read: async (group, wish) => {
        reads += 1;
        const page = await broker.streams.read(group, wish);
        if (reads === 1) await held.promise;
        return page;
      },
    },
    budget: { maxBytes: 0, usedBytes: 0 },
    maxReadBytes: MAX_BYTES,
    clock: { monotonic: () => 0 },
    onGap: () => {},
    onFault: () => {},
    onStalled: () => {},
  });
  const bus = broker.connect({
    onMessage: (_, message) => {
      follower.receive(message);
      kept.push(follower.queuedBytes);
    },
    onReconnected: () => {},
  });
  await bus.subscribe(ROOM);
  await follower.open();
  const publish = async (count: number, size: number) => {
    const draft = encodeForPublish(ROOM, { data: JSON.stringify('x'.repeat(size)) });
    for (let n = 0; n < count; n++) await bus.append(ROOM, draft, { retention: RETENTION });
    await settle();
  };
  return { broker, follower, held, heard, kept, publish };
};

test('[GP9] given a gap that is being read, when publications arrive, then the queue is bounded in bytes and none is lost', async () => {
  const { broker, held, heard, kept, publish } = await scene();
  await publish(1, 10);
  broker.loses = (_, { offset }) => offset === 2;
  await publish(2, 10);
  // The gap is being read.
  await publish(40, 10_000);
  expect(heard).toEqual([1]);
  expect(Math.max(...kept)).toBeGreaterThan(MAX_BYTES / 2);
  expect(Math.max(...kept)).toBeLessThanOrEqual(MAX_BYTES);
  held.resolve();
  // No further publication and no position check.
  await settle();
  await settle();
  expect(heard).toEqual(Array.from({ length: 43 }, (_, n) => n + 1));
});
