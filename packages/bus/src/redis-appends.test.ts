import { plainChannels } from '@muster/kit/redis/channels';
import type { Shards } from '@muster/kit/redis/cluster';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { expect, test } from 'vitest';
import type { GroupKey } from './group-key.ts';
import { encodeForPublish } from './publication-encoding.ts';
import { createAppendQueue } from './redis-appends.ts';

const retention = { size: 10, ttlMs: 1_000, metaTtlMs: 2_000 };

/** A queue on a connection that records the number of publications of each call and answers them all. */
const queueUnderTest = (shards?: Shards) => {
  const calls: number[] = [];
  const lane = {
    script: async () => '',
    on: () => {},
    evalsha: async (_sha: string, keys: number) => {
      calls.push(keys / 2);
      return Array(keys / 2)
        .fill('7 e 0')
        .join('\n');
    },
  };
  const redis = { prefix: 't:', channels: plainChannels, shards } as unknown as RedisConnections;
  let answered = 0;
  const queue = createAppendQueue({
    ...{ redis, appender: () => lane as never, newEpoch: () => 'new' },
    onAppended: (count) => {
      answered += count;
    },
  });
  const append = (count: number, bytes = 1) =>
    Promise.all(
      Array.from({ length: count }, (_, n) => {
        const group = `g${n}` as GroupKey;
        return queue.append(group, encodeForPublish(group, { data: `"${'x'.repeat(bytes)}"` }), { retention });
      }),
    );
  return { append, calls, answered: () => answered };
};

test('[ST34] given publications of one turn, when they are appended, then they are one call, and the next turn is another', async () => {
  const { append, calls, answered } = queueUnderTest();
  expect(await append(3)).toEqual(Array(3).fill({ offset: 7, epoch: 'e', outcome: 'published' }));
  await append(2);
  expect([calls, answered()]).toEqual([[3, 2], 5]);
});

test('[ST34] given more than 64 publications or 128 KiB in one turn, when they are appended, then they are several calls', async () => {
  const many = queueUnderTest();
  await many.append(130);
  expect(many.calls).toEqual([64, 64, 2]);
  const large = queueUnderTest();
  await large.append(5, 50_000);
  expect(large.calls).toEqual([2, 2, 1]);
  const largest = queueUnderTest();
  await largest.append(2, 200_000);
  expect(largest.calls).toEqual([1, 1]);
});

test('[ST34] given a cluster, when publications of one turn are appended, then they are one call per group', async () => {
  const { append, calls } = queueUnderTest({} as Shards);
  await append(3);
  expect(calls).toEqual([1, 1, 1]);
});
