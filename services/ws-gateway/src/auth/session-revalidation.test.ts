import type { Snapshot, SnapshotRead } from '@muster/session/session-snapshot';
import type { SessionSourceResult } from '@muster/session/session-source';
import type { SessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import { createSessionRegistry } from './session-registry.ts';
import { createSessionRevalidation } from './session-revalidation.ts';

const silent = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** Sessions `a`, `b`, … with the answers of Redis and the session service. */
const revalidationOf = (
  reads: Record<string, SnapshotRead | 'fault'>,
  answers: Record<string, SessionSourceResult> = {},
  cachedOnly: readonly string[] = [],
) => {
  const registry = createSessionRegistry();
  const ended: string[] = [];
  const touched: string[] = [];
  for (const id of Object.keys(reads).filter((one) => !cachedOnly.includes(one))) {
    registry.hold(id as SessionId, {
      endSession: (why) => void ended.push(`${id} ${why}`),
      renewSession: () => {},
      reviseSession: () => {},
    });
  }
  const compared: (readonly [ids: readonly SessionId[], live: readonly string[]])[] = [];
  const revalidation = createSessionRevalidation({
    registry,
    cache: {
      ids: () => cachedOnly as SessionId[],
      revalidate: (ids, found) => void compared.push([ids, found.map(({ id }) => id)]),
    },
    snapshots: {
      readMany: async (ids) =>
        ids.map((id) => {
          const read = reads[id];
          if (read === undefined || read === 'fault') throw new Error('away');
          return read;
        }),
    },
    source: {
      check: async (id) => answers[id] ?? Promise.reject(new Error('away')),
      recentChanges: async () => ({ ended: [], changed: [] }),
    },
    log: silent,
    onLive: (snapshots) => touched.push(...snapshots.map(({ id }) => id)),
    isBusHealthy: () => true,
    identityOf: ({ id, rev }) => ({ tenant: 'default', sessionId: id, user: 'ann', expiresAt: 0, rev }),
  });
  return { revalidation, ended, touched, compared };
};
const live = (id: string): SnapshotRead => ({ is: 'live', snapshot: { id: id as SessionId } as Snapshot });

test('[GS8] given local sessions, when they are compared, then ended sessions are closed, unknown sessions queried, and others kept', async () => {
  const { revalidation, ended } = revalidationOf(
    {
      a: live('a'),
      b: { is: 'ended', reason: 'admin' },
      c: { is: 'missing' },
      d: { is: 'missing' },
      e: { is: 'missing' },
    },
    {
      c: { is: 'ended', reason: 'expired' },
      d: { is: 'live', snapshot: {} as Snapshot },
      e: { is: 'unknown' },
    },
  );
  await revalidation.checkAll();
  expect(ended.toSorted()).toEqual(['b admin', 'c expired', 'e unknown']);
  revalidation[Symbol.dispose]();
});

test('[GS21] given stores that do not answer, when sessions are compared, then none is closed', async () => {
  const { revalidation, ended } = revalidationOf({ a: 'fault', b: live('b') });
  await revalidation.checkAll();
  expect(ended).toEqual([]);
  revalidation[Symbol.dispose]();
});

test('[GS9] given a session with an open socket, when it is compared, then its activity is recorded', async () => {
  const { revalidation, touched } = revalidationOf({ a: live('a'), b: { is: 'missing' } });
  await revalidation.checkAll();
  expect(touched).toEqual(['a']);
  revalidation[Symbol.dispose]();
});

test('[GS24] given recently checked sessions without a connection, when sessions are compared, then they are too, and are not activity', async () => {
  const reads = { a: live('a'), b: live('b'), c: { is: 'ended', reason: 'admin' } } as const;
  const { revalidation, touched, compared } = revalidationOf(reads, {}, ['b', 'c']);
  await revalidation.checkAll();
  expect(compared).toEqual([
    [
      ['a', 'b', 'c'],
      ['a', 'b'],
    ],
  ]);
  expect(touched).toEqual(['a']);
  revalidation[Symbol.dispose]();
});
