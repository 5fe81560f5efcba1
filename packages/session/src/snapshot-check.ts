import { timingSafeEqual } from 'node:crypto';
import type { Snapshot } from './session-snapshot.ts';

/**
 * Result of checking a secret against a snapshot. Only `expired` is final: a snapshot may be one revision or one
 * activity behind, so `mismatch`, `idle` and `stale` are decided by the source.
 */
export type SnapshotCheck =
  | { readonly ok: true; readonly snapshot: Snapshot; readonly secret: 'current' | 'previous' }
  | { readonly ok: false; readonly why: 'expired' | 'mismatch' | 'idle' | 'stale' };

/** Checks the hash of a presented secret, then the clocks; constant time, no I/O. `now` in ms since the epoch. */
export const checkSnapshot = (hash: Buffer, snapshot: Snapshot, now: number): SnapshotCheck => {
  const secret = matchSecret(hash, snapshot, now);
  if (secret === 'none' || secret === 'retired') return { ok: false, why: 'mismatch' };
  const why = checkClocks(snapshot, now);
  return why === undefined ? { ok: true, snapshot, secret } : { ok: false, why };
};

/** The part of a snapshot by which a session ends on its own. */
export type SessionClocks = Pick<Snapshot, 'expiresAt' | 'idleSeconds' | 'lastSeenAt' | 'freshUntil'>;

/** The time limit at which a session has ended; undefined while it is live. */
export const checkClocks = (snapshot: SessionClocks, now: number): 'expired' | 'idle' | 'stale' | undefined => {
  if (now >= snapshot.expiresAt) return 'expired';
  if (isIdle(snapshot, now)) return 'idle';
  return now >= snapshot.freshUntil ? 'stale' : undefined;
};

/** Compares a hash with the secrets of a session; `retired` is the previous secret after its grace period. */
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

/** True when a session was silent for longer than its idle limit; at exactly the limit it is live. */
export const isIdle = (session: Pick<Snapshot, 'idleSeconds' | 'lastSeenAt'>, now: number): boolean =>
  session.idleSeconds > 0 && now > session.lastSeenAt + session.idleSeconds * 1000;

/** Grace period of the previous secret after the first use of its successor, in ms. */
export const ROTATION_GRACE_MS = 30_000;

/** True until the new secret of a rotation is used for the first time. */
export const isRotationOpen = (session: Pick<Snapshot, 'prevUntil'>, now: number): boolean =>
  (session.prevUntil ?? 0) > now + ROTATION_GRACE_MS;

/** True for the first use of a rotation's new secret. */
export const confirmsRotation = (hash: Buffer, snapshot: Snapshot, now: number): boolean =>
  isRotationOpen(snapshot, now) && matchSecret(hash, snapshot, now) === 'current';

const sameHash = (hash: Buffer, stored: string): boolean => {
  const other = Buffer.from(stored, 'base64url');
  return other.length === hash.length && timingSafeEqual(hash, other);
};
