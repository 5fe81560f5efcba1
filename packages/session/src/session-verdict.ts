import { type Clock, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import type { RejectedTokens } from './rejected-tokens.ts';
import { checkSession, isIdle, isRotationOpen, matchSecret } from './session-check.ts';
import type { Snapshot, SnapshotRead, SnapshotStore } from './session-snapshot.ts';
import type { SessionSource, SessionSourceResult } from './session-source.ts';
import type { TicketHolder } from './tickets.ts';
import { hashSecret, type SessionId } from './token.ts';

/** What Redis, or else the session service, says of a session and the secret that was shown. */
export type SessionVerdict =
  | { readonly is: 'live'; readonly snapshot: Snapshot; readonly from: 'redis' | 'service' }
  | {
      readonly is: 'ended';
      readonly reason: string;
      /** Left out where it is `default`. */
      readonly tenant?: string;
      readonly from: 'redis' | 'service';
    }
  /** Nobody knows the session, or it never had this secret. */
  | { readonly is: 'invalid'; readonly from: 'service' }
  /** Nobody could be asked. Never to be confused with `invalid`. */
  | { readonly is: 'unavailable'; readonly from: 'service' };

/** A token whose signature holds. */
export interface SignedToken {
  readonly id: SessionId;
  readonly secret: string;
}

/** Who is asked, in this order. */
export interface VerdictDeps {
  readonly snapshots: Pick<SnapshotStore, 'read'>;
  readonly source: Pick<SessionSource, 'check' | 'confirm'>;
  readonly refusals: RejectedTokens<SessionVerdict>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Patience with Redis before the session service is asked instead. */
const SNAPSHOT_BUDGET_MS = 250;
/** The reason of the marker that stands in Redis for ids that nobody knows. */
const UNKNOWN = 'unknown';

/**
 * Redis first, then the session service. An end and the absolute clock are decided from a cached value;
 * a wrong secret, idleness and age never are, for a cached value may be one revision behind. Never rejects.
 */
export const evaluateSession = async (deps: VerdictDeps, token: SignedToken): Promise<SessionVerdict> => {
  const verdict = await judge(deps, token);
  if (verdict.is === 'live') confirmSecret(deps, token, verdict.snapshot);
  return verdict;
};

/**
 * The same for the holder of a ticket that was just redeemed: no secret was shown, but the one that the ticket was
 * made for must still be good. Never rejects.
 */
export const evaluateTicket = async (deps: VerdictDeps, holder: TicketHolder): Promise<SessionVerdict> => {
  const cached = await readSnapshot(deps, holder.id);
  if (cached.is === 'ended' && cached.reason !== UNKNOWN) {
    return { ...cached, from: 'redis' };
  }
  const now = deps.clock.now();
  if (cached.is === 'live' && checkHolder(holder, cached.snapshot, now) === 'good') {
    return { is: 'live', snapshot: cached.snapshot, from: 'redis' };
  }
  try {
    const answer = await deps.source.check(holder.id);
    if (answer.is === 'unknown') return { is: 'invalid', from: 'service' };
    if (answer.is === 'ended') return { ...answer, from: 'service' };
    const { snapshot } = answer;
    const isGood = ['good', 'stale'].includes(checkHolder(holder, snapshot, now));
    return isGood ? { is: 'live', snapshot, from: 'service' } : { is: 'invalid', from: 'service' };
  } catch (error) {
    deps.log.debug({ error }, 'session.source_failed');
    return { is: 'unavailable', from: 'service' };
  }
};

/** Both secrets of a rotation in its grace are good; the clocks are those of every check. */
const checkHolder = (holder: TicketHolder, snapshot: Snapshot, now: number): 'good' | 'stale' | 'bad' => {
  const { secretHash, prevHash, prevUntil = 0, expiresAt, freshUntil } = snapshot;
  const isSecret = holder.secretHash === secretHash || (holder.secretHash === prevHash && now < prevUntil);
  if (!isSecret || now >= expiresAt || isIdle(snapshot, now)) return 'bad';
  return now < freshUntil ? 'good' : 'stale';
};

/** The new secret of a rotation is in use: who gave it out should know. Nobody waits for that. */
const confirmSecret = ({ source, clock, log }: VerdictDeps, token: SignedToken, snapshot: Snapshot): void => {
  if (source.confirm === undefined || !carriesNewSecret(token, snapshot, clock.now())) return;
  source.confirm(snapshot.id, snapshot.rev).catch((error: unknown) => {
    log.debug({ error }, 'session.confirm_failed');
  });
};

/** True if this token carries the new secret of a rotation that waits for it to be seen. */
export const carriesNewSecret = (token: SignedToken, snapshot: Snapshot, now: number): boolean =>
  isRotationOpen(snapshot, now) && matchSecret(hashSecret(token.secret), snapshot, now) === 'current';

const judge = async (deps: VerdictDeps, token: SignedToken): Promise<SessionVerdict> => {
  const cached = await readSnapshot(deps, token.id);
  if (cached.is === 'ended' && cached.reason !== UNKNOWN) {
    return { ...cached, from: 'redis' };
  }
  if (cached.is === 'live') {
    const checked = checkSession(token, cached.snapshot, deps.clock.now());
    if (checked.ok) return { is: 'live', snapshot: checked.snapshot, from: 'redis' };
    if (checked.why === 'expired') return endedBy(cached.snapshot, 'expired', 'redis');
  }
  const refused = deps.refusals.find(token);
  if (refused !== undefined) return refused;
  try {
    const verdict = judgeTruth(deps, token, await deps.source.check(token.id));
    // Silence is not final: activity may be on its way.
    const isFinal = verdict.is === 'invalid' || (verdict.is === 'ended' && verdict.reason !== 'idle');
    if (isFinal) deps.refusals.keep(token, verdict);
    return verdict;
  } catch (error) {
    deps.log.debug({ error }, 'session.source_failed');
    return { is: 'unavailable', from: 'service' };
  }
};

const judgeTruth = (
  { clock }: VerdictDeps,
  token: SignedToken,
  answer: SessionSourceResult,
): SessionVerdict => {
  if (answer.is === 'ended') return { ...answer, from: 'service' };
  if (answer.is === 'unknown') return { is: 'invalid', from: 'service' };
  const { snapshot } = answer;
  const checked = checkSession(token, snapshot, clock.now());
  if (checked.ok) return { is: 'live', snapshot, from: 'service' };
  switch (checked.why) {
    case 'mismatch':
      return { is: 'invalid', from: 'service' };
    case 'expired':
    case 'idle':
      return endedBy(snapshot, checked.why, 'service');
    case 'stale': // It comes from the truth just now.
      return { is: 'live', snapshot, from: 'service' };
    default:
      return checked.why satisfies never;
  }
};

/** The end that a clock of this session has brought. */
const endedBy = (
  { tenant }: Snapshot,
  reason: string,
  from: 'redis' | 'service',
): Extract<SessionVerdict, { is: 'ended' }> => ({
  is: 'ended',
  reason,
  ...(tenant === DEFAULT_TENANT ? {} : { tenant }),
  from,
});

const readSnapshot = async ({ snapshots, log }: VerdictDeps, id: SessionId): Promise<SnapshotRead> => {
  try {
    return await within(SNAPSHOT_BUDGET_MS, 'reading the session', snapshots.read(id));
  } catch (error) {
    log.debug({ error }, 'session.snapshot_failed');
    return { is: 'missing' };
  }
};
