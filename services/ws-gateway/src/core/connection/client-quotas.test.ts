import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import { encodeForPublish } from '@muster/bus/publication-encoding';
import type { GroupName } from '@muster/protocol/ids';
import { expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';
import { DEFAULT_OPTIONS } from '../namespaces.ts';

const { retention } = DEFAULT_OPTIONS;
const subscribe = (id: number, channel: string) => ({ id, subscribe: { channel } });
const codes = (replies: unknown[]): (number | undefined)[] =>
  (replies as { id: number; error?: { code: number } }[])
    .toSorted((a, b) => a.id - b.id)
    .map(({ error }) => error?.code);

test('[LM3] given a session at its limit of groups, when any of its connections subscribes, then the reply is error 106', async () => {
  const under = engineUnderTest({ limits: { maxSubscriptionsPerSession: 3, maxSubscriptions: 100 } });
  const [one, two] = [await under.connected(), await under.connected()];
  const other = await under.connected('bob');
  expect(codes(await one.say(subscribe(2, 'a'), subscribe(3, 'b')))).toEqual([undefined, undefined]);
  expect(codes(await two.say(subscribe(2, 'c'), subscribe(3, 'd')))).toEqual([undefined, 106]);
  expect(codes(await other.say(subscribe(2, 'd')))).toEqual([undefined]);
  expect(under.metrics.limited).toEqual(['session_groups']);
  one.connection.onClosed(1000);
  expect(codes(await two.say(subscribe(4, 'd')))).toEqual([undefined]);
});

test('[LM19] given a session at its limit of groups, when it connects with groups, then the reply is error 111', async () => {
  const under = engineUnderTest({ limits: { maxSubscriptionsPerSession: 1 } });
  const one = await under.connected();
  await one.say(subscribe(2, 'a'));
  const two = under.client();
  expect(codes(await two.say({ id: 1, connect: { token: 'ann', subs: { b: {} } } }))).toEqual([111]);
});

test('[LM4] [LM21] given a session at its limit of new groups, when it opens another, then the reply is error 111, also after a reconnect', async () => {
  const under = engineUnderTest({
    limits: { maxNewGroupsPerMinute: 2 },
    groups: { retention, allowHistoryForClient: true },
  });
  const one = await under.connected();
  expect(codes(await one.say(subscribe(2, 'a'), subscribe(3, 'b'), subscribe(4, 'c')))).toEqual([
    undefined,
    undefined,
    111,
  ]);
  expect(codes(await one.say({ id: 5, history: { channel: 'd', limit: 0 } }))).toEqual([111]);
  one.connection.onClosed(1000);
  const again = await under.connected();
  expect(codes(await again.say(subscribe(2, 'c')))).toEqual([111]);
  const third = under.client();
  const answer = await third.say({ id: 1, connect: { token: 'ann', subs: { c: {} } } });
  expect(answer).toMatchObject([{ error: { code: 111, temporary: true } }]);
  expect(
    under.engine.hasQuota({
      ...{ identity: under.authenticator.identity('ann' as never), group: 'c' as GroupName },
      ...{ host: undefined, address: '' },
    }),
  ).toBe(false);
  // A group with members does not count as created.
  const other = await under.connected('bob');
  await other.say(subscribe(2, 'c'));
  expect(codes(await again.say(subscribe(3, 'c')))).toEqual([undefined]);
  expect(new Set(under.metrics.limited)).toEqual(new Set(['new_groups']));
  await under.pass(30_000);
  expect(codes(await again.say(subscribe(4, 'e')))).toEqual([undefined]);
});

test('[LM5] given a session at its limit of published bytes, when it publishes, then the reply is error 111, on plain connections too', async () => {
  const under = engineUnderTest({ limits: { maxPublishedBytesPerS: 10 } });
  const one = await under.connected();
  const publish = (id: number, size: number) => ({
    id,
    publish: { channel: 'a', data: 'x'.repeat(size - 2) },
  });
  // A burst of a minute's worth: 600 bytes.
  expect(codes(await one.say(publish(2, 400), publish(3, 200)))).toEqual([undefined, undefined]);
  expect(codes(await one.say(publish(4, 10)))).toEqual([111]);
  const raw = await under.plain('a');
  raw.connection.onFrame('"12345678"');
  await settle();
  expect(raw.wire.take()).toEqual([{ type: 'error', code: 111, message: 'too many requests' }]);
  expect(under.metrics.limited).toEqual(['published_bytes', 'published_bytes']);
  await under.pass(1_000);
  expect(codes(await one.say(publish(5, 10)))).toEqual([undefined]);
});

test('[LM6] given a group with more clients than a result may have, when presence is queried, then the reply is error 106', async () => {
  const under = engineUnderTest({ limits: { maxPresenceClients: 1 }, groups: { presence: true } });
  const [one, two] = [await under.connected(), await under.connected('bob')];
  await one.say(subscribe(2, 'a'));
  expect(codes(await one.say({ id: 3, presence: { channel: 'a' } }))).toEqual([undefined]);
  await two.say(subscribe(2, 'a'));
  expect(codes(await one.say({ id: 4, presence: { channel: 'a' } }))).toEqual([106]);
  expect(codes(await one.say({ id: 5, presence_stats: { channel: 'a' } }))).toEqual([106]);
  expect(under.metrics.limited).toEqual(['presence', 'presence']);
  expect(await under.engine.api.call('presence', { channel: 'a' })).toMatchObject({
    code: 106,
    reason: expect.stringContaining('MAX_PRESENCE_CLIENTS'),
  });
});

test('[LM22] given a presence result that exceeds half of the send buffer, when it is queried, then the reply is error 106 and the client stays connected', async () => {
  const under = engineUnderTest({ limits: { maxSendBufferBytes: 4_096 }, groups: { presence: true } });
  const one = await under.connected();
  await one.say(subscribe(2, 'a'));
  for (let n = 0; n < 100; n += 1) await under.presence.add('a' as GroupKey, `c${n}` as never, '{"user":"someone"}');
  expect(codes(await one.say({ id: 3, presence: { channel: 'a' } }))).toEqual([106]);
  expect(await one.say({ id: 4, presence_stats: { channel: 'a' } })).toMatchObject([
    { presence_stats: { num_clients: 101 } },
  ]);
  expect(one.wire.closed).toBeUndefined();
});

const topsOf = async (broker: ReturnType<typeof createMemoryBroker>, ...names: string[]) =>
  (await broker.streams.tops(names.map((group) => ({ group: group as GroupKey, keepMs: 0 })))).map(
    (top) => top?.offset,
  );

test('[LM7] [LM24] given a group without a subscriber on any gateway, when a client publishes, then nothing is kept, and a publication of a back end is kept', async () => {
  const broker = createMemoryBroker();
  const under = engineUnderTest({ broker, groups: { retention, keepWithoutSubscribers: false } });
  const elsewhere = engineUnderTest({ broker, groups: { retention, keepWithoutSubscribers: false } });
  const one = await under.connected();
  const listener = await elsewhere.connected('bob');
  await listener.say(subscribe(2, 'heard'));
  const publish = (id: number, channel: string) => ({ id, publish: { channel, data: 1 } });
  expect(codes(await one.say(publish(2, 'nobody'), publish(3, 'heard')))).toEqual([undefined, undefined]);
  const raw = await under.plain('own');
  raw.connection.onFrame('1');
  await settle();
  expect(await topsOf(broker, 'nobody', 'heard', 'own')).toEqual([undefined, 1, 1]);
  await under.engine.api.call('publish', { channel: 'back', data: 1 });
  expect(await topsOf(broker, 'back')).toEqual([1]);
  // The stream exists: publications are kept while the group has no subscriber.
  listener.connection.onClosed(1000);
  await one.say(publish(4, 'heard'));
  expect(await topsOf(broker, 'heard')).toEqual([2]);
});

test('[LM23] given keep_without_subscribers, when a client publishes to new names, then each counts as a new group', async () => {
  const broker = createMemoryBroker();
  const groups = { retention, keepWithoutSubscribers: true };
  const under = engineUnderTest({ broker, groups, limits: { maxNewGroupsPerMinute: 2 } });
  const one = await under.connected();
  const publish = (id: number, channel: string) => ({ id, publish: { channel, data: 1 } });
  expect(codes(await one.say(publish(2, 'a'), publish(3, 'b')))).toEqual([undefined, undefined]);
  expect(codes(await one.say(publish(4, 'c'), publish(5, 'a')))).toEqual([111, undefined]);
  expect(await topsOf(broker, 'a', 'b', 'c')).toEqual([2, 1, undefined]);
});

test('[RC8] given members, when positions are checked, then the life of offset and epoch is renewed, not with every check', async () => {
  const broker = createMemoryBroker();
  const kept: number[] = [];
  const { tops } = broker.streams;
  broker.streams.tops = async (groups) => {
    kept.push(...groups.map(({ keepMs }) => keepMs));
    return tops(groups);
  };
  const under = engineUnderTest({
    broker,
    groups: { retention: { size: 5, ttlMs: 1_000, metaTtlMs: 40_000 } },
  });
  const one = await under.connected();
  await one.say(subscribe(2, 'a'));
  await broker.streams.append('a' as GroupKey, encodeForPublish('a' as GroupKey, { data: '1' }), {
    retention: { size: 5, ttlMs: 1_000, metaTtlMs: 40_000 },
  });
  await settle();
  for (let n = 0; n < 5; n += 1) {
    await under.engine.checkPositions();
    await under.pass(5_000);
  }
  expect(kept).toEqual([40_000, 0, 40_000, 0, 40_000]);
});
