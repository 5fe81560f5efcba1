import type { SessionId } from '@muster/session/token';
import type { EndReason, LimitRule } from './session-record.ts';

/** The number of live sessions a user may have, and the rule for a login beyond it. */
export interface SessionLimit {
  readonly maxSessions: number;
  readonly atLimit: LimitRule;
}
export const DEFAULT_LIMIT: SessionLimit = { maxSessions: 50, atLimit: 'evict_idle' };

/** A session that counts towards the limit. */
export interface CountedSession {
  readonly id: SessionId;
  readonly deviceId: string | null;
  readonly createdAt: number;
  readonly lastSeenAt: number;
  /** Absent when it is not known. */
  readonly isOnline?: boolean;
}

/** The sessions to end before one more is opened; not ok when the rule is `reject`. */
type LimitOutcome =
  | { readonly ok: true; readonly end: readonly SessionId[]; readonly reason: EndReason }
  | { readonly ok: false };

/**
 * Applies the limit to one more session beside the live sessions (oldest first). `replace_device` ends the sessions of
 * the same device at any count; if the limit is still exceeded, and without a device, it ends the oldest.
 */
export const applySessionLimit = (
  live: readonly CountedSession[],
  { maxSessions, atLimit }: SessionLimit,
  deviceId: string | null,
): LimitOutcome => {
  if (atLimit === 'replace_device') {
    const same = deviceId === null ? [] : live.filter((session) => session.deviceId === deviceId);
    const others = live.filter((session) => !same.includes(session));
    const surplus = others.slice(0, Math.max(0, others.length + 1 - maxSessions));
    return { ok: true, end: [...same, ...surplus].map(({ id }) => id), reason: 'replaced' };
  }
  const surplus = live.length + 1 - maxSessions;
  if (surplus <= 0) return { ok: true, end: [], reason: 'evicted' };
  if (atLimit === 'reject') return { ok: false };
  const order = atLimit === 'evict_idle' ? live.toSorted(byUse) : live;
  return { ok: true, end: order.slice(0, surplus).map(({ id }) => id), reason: 'evicted' };
};

/** Sessions with an open socket are the most recently used. */
const byUse = (one: CountedSession, other: CountedSession): number =>
  Number(one.isOnline ?? false) - Number(other.isOnline ?? false) || one.lastSeenAt - other.lastSeenAt;
