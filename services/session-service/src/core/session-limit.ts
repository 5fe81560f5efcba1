import type { SessionId } from '@muster/session/token';
import type { EndReason, LimitRule } from './session.ts';

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
  /** Left out where it is not known. */
  readonly isOnline?: boolean;
}

/** What must end before one more session may begin. */
export type LimitOutcome =
  | { readonly ok: true; readonly end: readonly SessionId[]; readonly reason: EndReason }
  | { readonly ok: false };

/**
 * Makes room for one session among the live ones (oldest first). `replace_device` ends the sessions of the same
 * device whatever the count; when that makes no room, and with no device, the oldest gives way.
 */
export const applySessionLimit = (
  live: readonly CountedSession[],
  { maxSessions, atLimit }: SessionLimit,
  deviceId: string | null,
): LimitOutcome => {
  if (atLimit === 'replace_device') {
    const same = deviceId === null ? [] : live.filter((one) => one.deviceId === deviceId);
    const others = live.filter((one) => !same.includes(one));
    const surplus = others.slice(0, Math.max(0, others.length + 1 - maxSessions));
    return { ok: true, end: [...same, ...surplus].map(({ id }) => id), reason: 'replaced' };
  }
  const surplus = live.length + 1 - maxSessions;
  if (surplus <= 0) return { ok: true, end: [], reason: 'evicted' };
  if (atLimit === 'reject') return { ok: false };
  const order = atLimit === 'evict_idle' ? live.toSorted(byUse) : live;
  return { ok: true, end: order.slice(0, surplus).map(({ id }) => id), reason: 'evicted' };
};

/** An open socket is use at this moment, whenever the last request was. */
const byUse = (one: CountedSession, other: CountedSession): number =>
  Number(one.isOnline ?? false) - Number(other.isOnline ?? false) || one.lastSeenAt - other.lastSeenAt;
