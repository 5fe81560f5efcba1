import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import { encodeForPublish } from '@muster/bus/publication-encoding';
import { expect, test } from 'vitest';
import { StreamFollower } from './stream-follower.ts';

const ROOM = 'room' as GroupKey;
const RETENTION = { size: 50, ttlMs: 60_000, metaTtlMs: 120_000 };

/** A follower on a memory bus that can be made deaf. */
const following = async ({ maxBytes = 100_000, before = [] as unknown[] } = {}) => {
  const broker = createMemoryBroker();
  const { streams } = broker;
  const ear = { hears: true, resyncs: 0, heard: [] as number[], reads: 0 };
  const group = {
    key: ROOM,
    pace: async () => {},
    deliver: ({ offset }: BusMessage) => ear.heard.push(offset),
    resync: () => {
      ear.resyncs += 1;
    },
  };
  const follower = new StreamFollower(group, RETENTION, {
    streams: {
      ...streams,
      read: (group, wish) => {
        ear.reads += 1;
        return streams.read(group, wish);
      },
    },
    budget: { maxBytes, usedBytes: 0 },
    maxReadBytes: 1_048_576,
    clock: { monotonic: () => 0 },
    onGap: () => {},
    onFault: () => {},
    onStalled: () => {},
  });
  const bus = broker.connect({
    onMessage: (_, message) => {
      if (ear.hears) follower.receive(message);
    },
    onReconnected: () => {},
  });
  await bus.subscribe(ROOM);
  const publish = async (...data: unknown[]) => {
    for (const one of data) {
      const draft = encodeForPublish(ROOM, { data: JSON.stringify(one) });
      await bus.append(ROOM, draft, { retention: RETENTION });
    }
  };
  await publish(...before);
  await follower.open();
  const epoch = async () => (await streams.top(ROOM, RETENTION)).epoch;
  /** The link and the newest publication are lost; other publications with the same offsets are not received. */
  const failOver = async (...instead: unknown[]) => {
    follower.markUnverified();
    ear.hears = false;
    streams.lose(ROOM, 1);
    await publish(...instead);
    ear.hears = true;
  };
  return { follower, ear, publish, epoch, failOver };
};

test.each([100_000, 0])(
  '[GP8] given a lost and overwritten publication, when the link returns, then subscribers are notified and the stream has a new epoch (%i bytes of memory)',
  async (maxBytes) => {
    const { follower, ear, publish, epoch, failOver } = await following({ maxBytes });
    await publish(1, 2);
    const before = await epoch();
    await failOver('other 2');
    await follower.verify();
    expect([ear.resyncs, ear.heard]).toEqual([1, [1, 2]]);
    expect(await epoch()).not.toBe(before);
    await publish('next');
    expect(ear.heard).toEqual([1, 2, 3]);
  },
);

test('[GP8] given later publications delivered as the next, when the position is verified, then subscribers are notified', async () => {
  const { follower, ear, publish, failOver } = await following();
  await publish(1, 2);
  await failOver('other 2');
  await publish('other 3', 'other 4');
  expect(ear.heard).toEqual([1, 2, 3, 4]);
  await follower.verify();
  expect(ear.resyncs).toBe(1);
});

test('[GP8] given a group without delivered publications, when the position is verified, then subscribers are notified', async () => {
  const { follower, ear, failOver } = await following({ before: [1, 2] });
  await failOver('other 2');
  await follower.verify();
  expect(ear.resyncs).toBe(1);
});

test('[GP8] given a failover, when a gap is read, then subscribers are notified', async () => {
  const { follower, ear, publish, failOver } = await following();
  await publish(1, 2);
  await failOver('other 2', 'other 3');
  follower.markVerified();
  await follower.repair();
  expect([ear.resyncs, ear.heard]).toEqual([1, [1, 2]]);
});

test('[GP13] given a store without a loss, when the position is verified, then subscribers are not affected and it is read once', async () => {
  const { follower, ear, publish } = await following();
  await publish(1, 2);
  follower.markUnverified();
  ear.hears = false;
  await publish(3);
  ear.hears = true;
  await follower.verify();
  await follower.repair();
  await publish(4);
  expect([ear.resyncs, ear.heard]).toEqual([0, [1, 2, 3, 4]]);
  const { reads } = ear;
  await follower.verify();
  follower.markUnverified();
  follower.markVerified();
  await follower.verify();
  expect(ear.reads).toBe(reads);
});
