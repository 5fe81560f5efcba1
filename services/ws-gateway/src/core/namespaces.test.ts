import { expect, test } from 'vitest';
import { engineUnderTest } from './engine-fixture.ts';
import { createNamespaces, DEFAULT_OPTIONS, type GroupOptions } from './namespaces.ts';

const retention = { size: 5, ttlMs: 60_000, metaTtlMs: 120_000 };

/** Permissions of a subscriber of a group with these options. */
const granted = async (options: Partial<GroupOptions>, wish: object = {}) => {
  const { connected } = engineUnderTest({ groups: { retention, forceRecovery: false, ...options } });
  const ann = await connected('ann');
  const [reply] = (await ann.say({ id: 2, subscribe: { channel: 'a', ...wish } })) as [{ subscribe: object }];
  return Object.keys(reply.subscribe).filter((name) => name !== 'epoch');
};

test('[NS6] [NS16] given forced or requested recovery and positions, when a client subscribes, then they are granted as the options allow', async () => {
  expect(await granted({})).toEqual([]);
  expect(await granted({ forceRecovery: true })).toEqual(['recoverable', 'positioned']);
  expect(await granted({ forcePositioning: true })).toEqual(['positioned']);
  expect(await granted({}, { recoverable: true })).toEqual(['recoverable', 'positioned']);
  expect(await granted({}, { positioned: true })).toEqual(['positioned']);
  expect(await granted({ allowRecovery: false }, { recoverable: true })).toEqual([]);
  expect(await granted({ allowPositioning: false }, { positioned: true })).toEqual([]);
  const closed = { allowHistoryForSubscriber: false };
  expect(await granted(closed, { positioned: true, recoverable: true })).toEqual([]);
  expect(await granted({ ...closed, forceRecovery: true })).toEqual(['recoverable', 'positioned']);
});

test('[NS6] [NS16] given forced or requested join and leave, when a client joins, then members receive the push as the options allow', async () => {
  const hears = async (options: Partial<GroupOptions>, wish: object = {}) => {
    const { connected } = engineUnderTest({ groups: { joinLeave: true, ...options } });
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await ann.say({ id: 2, subscribe: { channel: 'a', ...wish } });
    ann.wire.take();
    await bob.say({ id: 2, subscribe: { channel: 'a' } });
    return ann.wire.take().length > 0;
  };
  expect(await hears({})).toBe(false);
  expect(await hears({}, { join_leave: true })).toBe(true);
  expect(await hears({ allowPresenceForSubscriber: false }, { join_leave: true })).toBe(false);
  expect(await hears({ allowPresenceForSubscriber: false, forcePushJoinLeave: true })).toBe(true);
});

test('[NS13] given a colon in the name of a user, when options are resolved, then it does not start a namespace', () => {
  const table = {
    withoutNamespace: DEFAULT_OPTIONS,
    namespaces: new Map([['user', { ...DEFAULT_OPTIONS, maxMembers: 7 }]]),
  };
  const { optionsOf } = createNamespaces(() => table);
  const name = (text: string) => text as Parameters<typeof optionsOf>[0];
  expect(optionsOf(name('#guest:ab'))?.maxMembers).toBe(0);
  expect(optionsOf(name('user:#guest:ab'))?.maxMembers).toBe(7);
  expect(optionsOf(name('$user:1'))?.maxMembers).toBe(7);
  expect(optionsOf(name('other:1'))).toBeUndefined();
});

test('[NS7] given several faults, when a client subscribes, then the reply is the first of them', async () => {
  const { connected } = engineUnderTest({ limits: { maxSubscriptions: 1 } });
  const ann = await connected('ann');
  const errorOf = async (subscribe: object) => {
    const [reply] = (await ann.say({ id: 9, subscribe })) as [{ error?: { code: number } }];
    return reply.error?.code;
  };
  expect(await errorOf({ channel: 'a' })).toBeUndefined();
  expect(await errorOf({ channel: 'a', type: 4, delta: 'x' })).toBe(108);
  expect(await errorOf({ channel: 'a', type: 1, delta: 'x' })).toBe(103);
  expect(await errorOf({ channel: 'x'.repeat(256) })).toBe(107);
  expect(await errorOf({ channel: 'a', tf: {} })).toBe(105);
  expect(await errorOf({ channel: 'ż' })).toBe(106);
  await ann.say({ id: 3, unsubscribe: { channel: 'a' } });
  expect(await errorOf({ channel: 'ż', tf: {} })).toBe(107);
  expect(await errorOf({ channel: '$private', tf: {} })).toBe(103);
  expect(await errorOf({ channel: 'a', tf: {} })).toBe(107);
  await ann.say({ id: 4, subscribe: { channel: 'a', delta: 'x' } });
  expect(ann.wire.closed?.code).toBe(3501);
});
