import { expect, test } from 'vitest';
import { isGranted } from './grants.ts';
import { decodeSnapshot, type Snapshot } from './session-snapshot.ts';
import { checkSnapshot, isIdle, matchSecret } from './snapshot-check.ts';
import { hashSecret, newSessionId } from './token.ts';

const NOW = 1_800_000_000_000;
const hash = (secret: string) => hashSecret(secret).toString('base64url');
const snapshot: Snapshot = {
  id: newSessionId(),
  tenant: 'default',
  userId: 'u_1',
  kind: 'user',
  secretHash: hash('new'),
  prevHash: hash('old'),
  prevUntil: NOW + 30_000,
  rev: 3,
  aal: 1,
  label: null,
  createdAt: NOW - 1000,
  expiresAt: NOW + 3_600_000,
  idleSeconds: 600,
  lastSeenAt: NOW - 1000,
  freshUntil: NOW + 60_000,
};

test('[SN7] given a rotation, when secrets are checked, then the current one passes, the previous one until the end of its grace period', () => {
  expect(checkSnapshot(hashSecret('new'), snapshot, NOW)).toMatchObject({ ok: true, secret: 'current' });
  expect(checkSnapshot(hashSecret('old'), snapshot, NOW + 29_999)).toMatchObject({
    ok: true,
    secret: 'previous',
  });
  expect(checkSnapshot(hashSecret('old'), snapshot, NOW + 30_000)).toEqual({ ok: false, why: 'mismatch' });
  expect(matchSecret(hashSecret('old'), snapshot, NOW + 30_000)).toBe('retired');
  expect(matchSecret(hashSecret('older'), snapshot, NOW)).toBe('none');
});

test('[SN8] given a snapshot, when it is checked, then only the absolute expiry is final', () => {
  const at = (now: number) => checkSnapshot(hashSecret('new'), snapshot, now);
  expect(at(snapshot.expiresAt)).toEqual({ ok: false, why: 'expired' });
  expect(at(snapshot.freshUntil)).toEqual({ ok: false, why: 'stale' });
  expect(at(snapshot.lastSeenAt + 600_001)).toEqual({ ok: false, why: 'idle' });
  expect(checkSnapshot(hashSecret('new'), { ...snapshot, secretHash: 'AA' }, NOW)).toEqual({
    ok: false,
    why: 'mismatch',
  });
});

test('[SN9] given an idle limit, when it is reached, then the session is live, and idle one millisecond later; without a limit never', () => {
  const limit = snapshot.lastSeenAt + 600_000;
  expect(isIdle(snapshot, limit - 1)).toBe(false);
  expect(isIdle(snapshot, limit)).toBe(false);
  expect(isIdle(snapshot, limit + 1)).toBe(true);
  expect(isIdle({ ...snapshot, idleSeconds: 0 }, limit + 1e12)).toBe(false);
});

test('[SN3] given values that cannot be decoded, when they are read, then they are missing', () => {
  const good = `3|${JSON.stringify(snapshot)}`;
  expect(decodeSnapshot(good)).toEqual({ is: 'live', snapshot });
  expect(decodeSnapshot('!4|logout')).toEqual({ is: 'ended', reason: 'logout' });
  for (const bad of [null, '', 'x', '3|', '3|{', '3|null', '3|[]', '3|{"id":1}', good.slice(0, -5)]) {
    expect(decodeSnapshot(bad)).toEqual({ is: 'missing' });
  }
  expect(decodeSnapshot(good, newSessionId())).toEqual({ is: 'missing' });
});

test('[GR1] given grants, when an action is checked, then only their groups and actions are allowed', () => {
  const grants = [
    { groups: 'chat:*', allow: ['subscribe', 'publish'] as const },
    { groups: 'news', allow: ['history'] as const },
  ];
  expect(isGranted(grants, 'chat:1', 'publish')).toBe(true);
  expect(isGranted(grants, 'chat:1', 'history')).toBe(false);
  expect(isGranted(grants, 'news', 'history')).toBe(true);
  expect(isGranted(grants, 'news:1', 'history')).toBe(false);
  expect(isGranted(undefined, 'news', 'history')).toBe(false);
});
