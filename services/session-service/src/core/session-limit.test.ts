import type { SessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import { applySessionLimit, type CountedSession } from './session-limit.ts';

const session = (id: string, lastSeenAt: number, deviceId: string | null = null): CountedSession => ({
  id: id as SessionId,
  deviceId,
  createdAt: 0,
  lastSeenAt,
});
const live = [session('a', 30, 'd1'), session('b', 10, 'd2'), session('c', 20)];

test('[SE24] below the limit nothing gives way', () => {
  expect(applySessionLimit(live, { maxSessions: 4, atLimit: 'reject' }, null)).toMatchObject({
    ok: true,
    end: [],
  });
});

test('[SE24] the oldest or the longest silent gives way', () => {
  expect(applySessionLimit(live, { maxSessions: 3, atLimit: 'evict_oldest' }, null)).toMatchObject({
    end: ['a'],
  });
  expect(applySessionLimit(live, { maxSessions: 3, atLimit: 'evict_idle' }, null)).toMatchObject({
    end: ['b'],
  });
  expect(applySessionLimit(live, { maxSessions: 2, atLimit: 'evict_idle' }, null)).toMatchObject({
    end: ['b', 'c'],
  });
  expect(applySessionLimit(live, { maxSessions: 3, atLimit: 'reject' }, null)).toEqual({ ok: false });
});

test('[SE24] an open socket is use at this moment: evict_idle ends such a session only when all have one', () => {
  const [a, b, c] = live as [CountedSession, CountedSession, CountedSession];
  const limit = { maxSessions: 3, atLimit: 'evict_idle' } as const;
  expect(applySessionLimit([a, { ...b, isOnline: true }, c], limit, null)).toMatchObject({ end: ['c'] });
  const online = [a, b, c].map((one) => ({ ...one, isOnline: true }));
  expect(applySessionLimit(online, limit, null)).toMatchObject({ end: ['b'] });
  expect(applySessionLimit(online, { ...limit, atLimit: 'evict_oldest' }, null)).toMatchObject({
    end: ['a'],
  });
});

test('[SE24] a device replaces its own session, and the oldest when there is none', () => {
  const limit = { maxSessions: 3, atLimit: 'replace_device' } as const;
  expect(applySessionLimit(live, limit, 'd2')).toMatchObject({ end: ['b'], reason: 'replaced' });
  expect(applySessionLimit(live, limit, 'd9')).toMatchObject({ end: ['a'] });
  expect(applySessionLimit(live, limit, null)).toMatchObject({ end: ['a'] });
  expect(applySessionLimit(live, { ...limit, maxSessions: 9 }, 'd1')).toMatchObject({ end: ['a'] });
});
