import { createFakeClock } from '@muster/testkit/fake-clock';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { expect, test } from 'vitest';
import { createRejectedTokens, evaluateSession, evaluateTicket, type SessionDecision } from './session-decision.ts';
import type { Snapshot, SnapshotRead } from './session-snapshot.ts';
import type { SessionSourceResult } from './session-source.ts';
import { hashSecret, newSessionId } from './token.ts';

const clock = createFakeClock();
const id = newSessionId();
const hash = (secret: string) => hashSecret(secret).toString('base64url');
const snapshot: Snapshot = {
  id,
  tenant: 'default',
  userId: 'u_1',
  kind: 'user',
  secretHash: hash('new'),
  prevHash: hash('old'),
  prevUntil: clock.now() + 3_600_000,
  rev: 2,
  aal: 1,
  label: null,
  createdAt: clock.now(),
  expiresAt: clock.now() + 7_200_000,
  idleSeconds: 3600,
  lastSeenAt: clock.now(),
  freshUntil: clock.now() + 60_000,
};

const world = (cached: SnapshotRead, answer?: SessionSourceResult) => {
  const confirmed: number[] = [];
  const asked = { count: 0 };
  const deps = {
    clock,
    log: createInMemoryLog(),
    rejected: createRejectedTokens<SessionDecision>(),
    snapshots: { read: async () => cached },
    source: {
      check: async () => {
        asked.count += 1;
        if (answer === undefined) throw new Error('nobody there');
        return answer;
      },
      confirm: async (_id: string, rev: number) => void confirmed.push(rev),
    },
  };
  return { deps, confirmed, asked };
};
const live: SnapshotRead = { is: 'live', snapshot };
const missing: SnapshotRead = { is: 'missing' };

test('[VD1] given a rotation, when the new secret is used, then it is confirmed; the old secret confirms nothing', async () => {
  const { deps, confirmed } = world(live);
  await evaluateSession(deps, { id, secret: 'old' });
  expect(confirmed).toEqual([]);
  await evaluateSession(deps, { id, secret: 'new' });
  expect(confirmed).toEqual([2]);
  const closed = world({ is: 'live', snapshot: { ...snapshot, prevUntil: clock.now() + 30_000 } });
  await evaluateSession(closed.deps, { id, secret: 'new' });
  expect(closed.confirmed).toEqual([]);
});

test('[VD4] given a ticket, when its holder is checked, then it is the session of the ticket while the secret is valid', async () => {
  const holder = (secret: string) => ({ id, secretHash: hash(secret), origin: null });
  expect(await evaluateTicket(world(live).deps, holder('new'))).toMatchObject({ is: 'live', from: 'redis' });
  expect(await evaluateTicket(world(live).deps, holder('old'))).toMatchObject({ is: 'live', from: 'redis' });
  const rotated = world(live, { is: 'live', snapshot: { ...snapshot, prevUntil: 0 } });
  expect(await evaluateTicket(rotated.deps, holder('older'))).toEqual({ is: 'invalid', from: 'service' });
  const fresh = { ...snapshot, secretHash: hash('newest') };
  const newer = world(live, { is: 'live', snapshot: fresh });
  expect(await evaluateTicket(newer.deps, holder('newest'))).toMatchObject({ is: 'live', from: 'service' });
});

test('[VD4] given a ticket of an ended session or a fault, when its holder is checked, then the result is ended or unavailable', async () => {
  const holder = { id, secretHash: snapshot.secretHash, origin: null };
  const ended = world({ is: 'ended', reason: 'logout' });
  expect(await evaluateTicket(ended.deps, holder)).toEqual({ is: 'ended', reason: 'logout', from: 'redis' });
  const late = world(missing, { is: 'ended', reason: 'idle' });
  expect(await evaluateTicket(late.deps, holder)).toEqual({ is: 'ended', reason: 'idle', from: 'service' });
  expect(await evaluateTicket(world(missing, { is: 'unknown' }).deps, holder)).toMatchObject({
    is: 'invalid',
  });
  expect(await evaluateTicket(world(missing).deps, holder)).toMatchObject({ is: 'unavailable' });
});

test('[VD5] given a retired secret, when it is presented often, then it causes one query, and the current secret none', async () => {
  const { deps, asked } = world(live, { is: 'live', snapshot });
  for (let n = 0; n < 100; n += 1) {
    expect(await evaluateSession(deps, { id, secret: 'retired' })).toEqual({
      is: 'invalid',
      from: 'service',
    });
    expect((await evaluateSession(deps, { id, secret: 'new' })).is).toBe('live');
  }
  expect(asked.count).toBe(1);
});

test('[VD5] given a fault, when the token is presented again, then it is checked again', async () => {
  const { deps } = world(missing);
  expect(await evaluateSession(deps, { id, secret: 'new' })).toMatchObject({ is: 'unavailable' });
  const healed = { ...deps, snapshots: { read: async () => live } };
  expect((await evaluateSession(healed, { id, secret: 'new' })).is).toBe('live');
});
