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

test('[SE24] given fewer sessions than the limit, none ends', () => {
  expect(applySessionLimit(live, { maxSessions: 4, atLimit: 'reject' }, null)).toMatchObject({
    ok: true,
    end: [],
  });
});

test('[SE24] given the limit, the oldest or the longest idle session ends', () => {
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

test('[SE75] given open sockets, evict_idle ends such a session only if all have one', () => {
  const [a, b, c] = live as [CountedSession, CountedSession, CountedSession];
  const limit = { maxSessions: 3, atLimit: 'evict_idle' } as const;
  expect(applySessionLimit([a, { ...b, isOnline: true }, c], limit, null)).toMatchObject({ end: ['c'] });
  const online = [a, b, c].map((one) => ({ ...one, isOnline: true }));
  expect(applySessionLimit(online, limit, null)).toMatchObject({ end: ['b'] });
  expect(applySessionLimit(online, { ...limit, atLimit: 'evict_oldest' }, null)).toMatchObject({
    end: ['a'],
  });
});

test('[SE77] given replace_device, the session of the device ends, else the oldest', () => {
  const limit = { maxSessions: 3, atLimit: 'replace_device' } as const;
  expect(applySessionLimit(live, limit, 'd2')).toMatchObject({ end: ['b'], reason: 'replaced' });
  expect(applySessionLimit(live, limit, 'd9')).toMatchObject({ end: ['a'] });
  expect(applySessionLimit(live, limit, null)).toMatchObject({ end: ['a'] });
  expect(applySessionLimit(live, { ...limit, maxSessions: 9 }, 'd1')).toMatchObject({ end: ['a'] });
});
