import { randomBytes } from 'node:crypto';
import type { Bus, BusHandlers } from '@muster/bus/bus';
import type { GroupKey } from '@muster/bus/group-key';
import { encodeForPublish } from '@muster/bus/publication-encoding';
import { createRedisBus } from '@muster/bus/redis-broker';
import { groupKeys } from '@muster/bus/redis-keys';
import { createMetrics } from '@muster/kit/metrics';
import { slotOf } from '@muster/kit/redis/cluster';
import { openRedis } from '@muster/kit/redis/connection';
import { type DedicatedRedisCluster, openDedicatedRedisCluster } from '@muster/testkit/dedicated-redis-cluster';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { busConformance } from './broker-conformance.ts';

let cluster: DedicatedRedisCluster;

beforeAll(async () => {
  cluster = await openDedicatedRedisCluster({ proxied: true });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const RETENTION = { size: 100, ttlMs: 60_000, metaTtlMs: 600_000 };

const connect = async (owned: AsyncDisposableStack, prefix: string, handlers: BusHandlers): Promise<Bus> => {
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const config = {
    ...{ url: cluster.url, prefix, maxConnections: 6 },
    ...{ connectTimeoutMs: 1_000, commandTimeoutMs: 1_000, name: 'bus-test' },
  };
  const redis = owned.use(await openRedis(config, { log, metrics }));
  const bus = owned.use(createRedisBus({ redis, log, metrics }, handlers));
  await until(bus.isUp, { what: 'the link of the bus' });
  return bus;
};
const every = (work: (node: DedicatedRedisCluster['nodes'][number]) => Promise<unknown>) => async () => {
  await Promise.all(cluster.nodes.map(work));
};

describe('the contract', () => {
  busConformance('a Redis Cluster', async () => {
    const owned = new AsyncDisposableStack();
    const prefix = `t:${randomBytes(6).toString('hex')}:`;
    return {
      connect: (handlers) => connect(owned, prefix, handlers),
      cut: every(async ({ proxy }) => proxy?.refuse()),
      restore: every(async ({ proxy }) => proxy?.pass()),
      flush: () => cluster.flush(),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  });
});

describe('the shards', () => {
  let owned: AsyncDisposableStack;
  let bus: Bus;
  let reconnects = 0;
  const received = new Map<string, number[]>();
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  const slotOfGroup = (group: GroupKey) => slotOf(groupKeys(prefix, group).channel);
  const publish = async (group: GroupKey, n: number) => {
    await bus.append(group, encodeForPublish(group, { data: String(n) }), { retention: RETENTION });
  };

  beforeEach(async () => {
    owned = new AsyncDisposableStack();
    reconnects = 0;
    received.clear();
    bus = await connect(owned, prefix, {
      onMessage: (group, { offset }) => received.set(group, [...(received.get(group) ?? []), offset]),
      onReconnected: () => {
        reconnects += 1;
      },
    });
  });
  afterEach(() => owned.disposeAsync());

  test('[BU12] given a cluster, when a message is published, then only the node of its slot receives it', async () => {
    const groups = Array.from({ length: 30 }, (_, n) => `shard-${n}` as GroupKey);
    await Promise.all(groups.map((group) => bus.subscribe(group)));
    await Promise.all(groups.map((group) => publish(group, 1)));
    await until(() => received.size, { ok: (size) => size === groups.length, what: 'all groups' });
    for (const { direct, id } of cluster.nodes) {
      const channels = (await direct.call('PUBSUB', 'SHARDCHANNELS', `${prefix}g:*`)) as string[];
      const owners = await Promise.all(channels.map((one) => cluster.ownerOf(slotOf(one))));
      expect(new Set(owners.map((one) => one.id))).toEqual(new Set([id]));
    }
  });

  test('[BU13] given a slot in use, when it is moved, then nothing is appended twice and its groups receive messages again', async () => {
    const group = 'moving' as GroupKey;
    await bus.subscribe(group);
    await publish(group, 1);
    const from = await cluster.ownerOf(slotOfGroup(group));
    const to = cluster.nodes.find(({ id }) => id !== from.id);
    if (to === undefined) throw new Error('one node is no cluster');
    let count = 1;
    let moving = true;
    const publishing = (async () => {
      while (moving) {
        await publish(group, count + 1);
        count += 1;
      }
    })();
    await cluster.moveSlot(slotOfGroup(group), to);
    await until(() => reconnects, { what: 'the news' });
    moving = false;
    await publishing;
    const before = received.get(group)?.length ?? 0;
    await publish(group, count + 1);
    await until(() => (received.get(group)?.length ?? 0) > before, {
      what: 'a message over the new owner of the slot',
    });
    const { top, entries } = await bus.read(group, {
      limit: 1_000,
      retention: { ...RETENTION, size: 1_000 },
    });
    expect(top.offset).toBe(count + 1);
    expect(entries.at(-1)?.offset).toBe(count + 1);
    expect(received.get(group)?.at(-1)).toBe(count + 1);
    expect((await cluster.ownerOf(slotOfGroup(group))).id).toBe(to.id);
  });

  test('[BU14] given a node that is down, when groups are used, then its groups fail at once, others work, and all receive messages after it returns', async () => {
    const groups = Array.from({ length: 12 }, (_, n) => `away-${n}` as GroupKey);
    await Promise.all(groups.map((group) => bus.subscribe(group)));
    const [lost] = cluster.nodes;
    if (lost === undefined) throw new Error('no node');
    const isLost = async (group: GroupKey) => (await cluster.ownerOf(slotOfGroup(group))).id === lost.id;
    const owned = await Promise.all(groups.map(isLost));
    await lost.proxy?.refuse();
    for (const [at, group] of groups.entries()) {
      const outcome = await publish(group, 1).then(
        () => 'ok',
        (error: { code?: string }) => error.code,
      );
      expect([group, outcome]).toEqual([group, owned[at] ? 'REDIS_UNAVAILABLE' : 'ok']);
    }
    await lost.proxy?.pass();
    await until(() => reconnects, { what: 'the link' });
    for (const group of groups) {
      await until(
        () =>
          publish(group, 2).then(
            () => true,
            () => false,
          ),
        { what: `${group} to be taken again` },
      );
    }
    await until(() => groups.filter((group) => (received.get(group)?.length ?? 0) === 0).length, {
      ok: (silent) => silent === 0,
      what: 'all groups',
    });
  });
});
