import { createFakeClock } from '@muster/testkit/fake-clock';
import { expect, test } from 'vitest';
import { createSessionCache } from './session-cache.ts';
import type { SessionDecision } from './session-decision.ts';
import type { Snapshot } from './session-snapshot.ts';
import { hashSecret, newSessionId } from './token.ts';

const id = newSessionId();
const TOKEN = { id, secret: 'current' };
const textOf = (token: { id: string; secret: string }) => `${token.id}.${token.secret}`;

const cacheUnderTest = (more: Partial<Snapshot> = {}, options: { max?: number; ttlMs?: number } = {}) => {
  const clock = createFakeClock();
  const trust = { isGiven: true };
  const snapshot: Snapshot = {
    id,
    tenant: 'default',
    userId: 'u_1',
    kind: 'user',
    secretHash: hashSecret('current').toString('base64url'),
    rev: 2,
    aal: 1,
    label: null,
    createdAt: clock.now(),
    expiresAt: clock.now() + 7_200_000,
    idleSeconds: 3600,
    lastSeenAt: clock.now(),
    freshUntil: clock.now() + 600_000,
    ...more,
  };
  const cache = createSessionCache({
    clock,
    max: options.max ?? 10,
    ttlMs: options.ttlMs ?? 60_000,
    isTrusted: () => trust.isGiven,
    valueOf: ({ rev }) => ({ rev }),
  });
  let queries = 0;
  const query = (token = TOKEN, decide: () => Promise<SessionDecision> = live) =>
    cache.query(textOf(token), token, () => {
      queries += 1;
      return decide();
    });
  const live = async (): Promise<SessionDecision> => ({ is: 'live', snapshot, from: 'redis' });
  return { cache, clock, trust, snapshot, query, live, queries: () => queries };
};

test('[VC1] given a live session, when it was queried, then its secret finds it, and no other secret', async () => {
  const { cache, query } = cacheUnderTest();
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  await query();
  expect(cache.find(textOf(TOKEN))).toEqual({ rev: 2 });
  expect(cache.find(textOf({ id, secret: 'other' }))).toBeUndefined();
  expect(cache.find(textOf({ id: newSessionId(), secret: 'current' }))).toBeUndefined();
});

test('[VC2] given a cached session, when a change is announced or all are forgotten, then it is not found', async () => {
  const { cache, query } = cacheUnderTest();
  await query();
  cache.forget(id);
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  await query();
  cache.forgetAll();
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
});

test('[VC3] given a query under way, when the session changes meanwhile, then the result is not cached, and later queries are new', async () => {
  const { cache, query, live, queries } = cacheUnderTest();
  const answer = Promise.withResolvers<void>();
  const early = query(TOKEN, () => answer.promise.then(live));
  void query();
  expect(queries()).toBe(1);
  cache.forget(id);
  const late = query(TOKEN, () => new Promise(() => {}));
  answer.resolve();
  expect((await early).is).toBe('live');
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  expect(queries()).toBe(2);
  void late;
});

test('[VC4] given a bus that is not trusted, when a session is queried or looked for, then it is neither cached nor found', async () => {
  const { cache, query, trust } = cacheUnderTest();
  trust.isGiven = false;
  await query();
  trust.isGiven = true;
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  await query();
  trust.isGiven = false;
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  trust.isGiven = true;
  expect(cache.find(textOf(TOKEN))).toEqual({ rev: 2 });
});

test('[VC5] given the time limits of a session, when one is reached, then the session is not found', async () => {
  for (const [more, ms] of [
    [{}, 60_001],
    [{ freshUntil: 1_000 }, 0],
    [{ idleSeconds: 1 }, 1_001],
    [{ expiresAt: 0 }, 0],
  ] as const) {
    const { cache, query, clock } = cacheUnderTest(more);
    await query();
    clock.advance(ms);
    expect(cache.find(textOf(TOKEN)), JSON.stringify(more)).toBeUndefined();
  }
});

test('[VC5] given a rotation, when either secret is used, then the stores are queried until the first use of the new secret is reported', async () => {
  const prevHash = hashSecret('before').toString('base64url');
  const [start, before] = [createFakeClock().now(), { id, secret: 'before' }];
  const open = cacheUnderTest({ prevHash, prevUntil: start + 3_600_000 });
  await open.query();
  expect(open.cache.find(textOf(TOKEN))).toBeUndefined();
  const used = cacheUnderTest({ prevHash, prevUntil: start + 30_000 });
  await used.query(before);
  expect(used.cache.find(textOf(before))).toBeUndefined();
  await used.query();
  expect(used.cache.find(textOf(TOKEN))).toEqual({ rev: 2 });
});

test('[VC6] given a comparison with the stores, when it is applied, then only unchanged sessions stay, and those in use are renewed', async () => {
  const { cache, query, clock, snapshot } = cacheUnderTest();
  const compare = (found: readonly Snapshot[], isInUse: boolean) => cache.revalidate([id], found, () => isInUse);
  compare([snapshot], true);
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  await query();
  clock.advance(50_000);
  compare([snapshot], true);
  clock.advance(50_000);
  expect(cache.find(textOf(TOKEN))).toEqual({ rev: 2 });
  compare([snapshot], false);
  clock.advance(50_000);
  expect(cache.find(textOf(TOKEN))).toBeUndefined();
  for (const found of [[], [{ ...snapshot, rev: 3 }]]) {
    await query();
    compare(found, true);
    expect(cache.find(textOf(TOKEN))).toBeUndefined();
  }
});

test('[VC7] given more sessions than the limit, or a limit or lifetime of 0, when they are queried, then the rest is not cached', async () => {
  const { cache, query, snapshot } = cacheUnderTest({}, { max: 2 });
  for (let count = 0; count < 3; count += 1) {
    const other = newSessionId();
    await query({ id: other, secret: 'current' }, async () => ({
      is: 'live',
      snapshot: { ...snapshot, id: other },
      from: 'redis',
    }));
  }
  expect(cache.size()).toBe(2);
  for (const options of [{ max: 0 }, { ttlMs: 0 }]) {
    const off = cacheUnderTest({}, options);
    await off.query();
    expect(off.cache.find(textOf(TOKEN))).toBeUndefined();
  }
});
