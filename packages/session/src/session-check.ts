import { timingSafeEqual } from 'node:crypto';
import type { Snapshot } from './session-snapshot.ts';
import { hashSecret } from './token.ts';

/**
 * The verdict over a cached session. `expired` is final. `mismatch`, `idle` and `stale` are not:
 * a cached value may be one revision or one touch behind, so the source decides.
 */
export type Checked =
  | { readonly ok: true; readonly snapshot: Snapshot; readonly secret: 'current' | 'previous' }
  | { readonly ok: false; readonly why: 'expired' | 'mismatch' | 'idle' | 'stale' };

/** Compares a presented secret and the clocks with a snapshot, in constant time, without I/O. `now` in ms. */
export const checkSession = (
  token: { readonly secret: string },
  snapshot: Snapshot,
  now: number,
): Checked => {
  const secret = matchSecret(hashSecret(token.secret), snapshot, now);
  if (secret === 'none' || secret === 'retired') return { ok: false, why: 'mismatch' };
  if (now >= snapshot.expiresAt) return { ok: false, why: 'expired' };
  if (isIdle(snapshot, now)) return { ok: false, why: 'idle' };
  if (now >= snapshot.freshUntil) return { ok: false, why: 'stale' };
  return { ok: true, snapshot, secret };
};

/** Which of a session's secrets this hash is; `retired` is the previous one after its grace. */
export const matchSecret = (
  hash: Buffer,
  session: Pick<Snapshot, 'secretHash' | 'prevHash' | 'prevUntil'>,
  now: number,
): 'current' | 'previous' | 'retired' | 'none' => {
  const current = sameHash(hash, session.secretHash);
  const previous = session.prevHash !== undefined && sameHash(hash, session.prevHash);
  if (current) return 'current';
  if (!previous) return 'none';
  return now < (session.prevUntil ?? 0) ? 'previous' : 'retired';
};

/** True when the session has been silent for longer than it may; exactly at the limit it still lives. */
export const isIdle = (session: Pick<Snapshot, 'idleSeconds' | 'lastSeenAt'>, now: number): boolean =>
  session.idleSeconds > 0 && now > session.lastSeenAt + session.idleSeconds * 1000;

/** Life of the old secret after the new one was seen, in ms. */
export const ROTATION_GRACE_MS = 30_000;

/** True while a rotation waits for its new secret to be seen. */
export const isRotationOpen = (session: Pick<Snapshot, 'prevUntil'>, now: number): boolean =>
  (session.prevUntil ?? 0) > now + ROTATION_GRACE_MS;

const sameHash = (hash: Buffer, stored: string): boolean => {
  const other = Buffer.from(stored, 'base64url');
  return other.length === hash.length && timingSafeEqual(hash, other);
};
