import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { LRUCache } from 'lru-cache';
import type { Snapshot, SnapshotRead, SnapshotStore } from './session-snapshot.ts';
import type { SessionSource, SessionSourceResult } from './session-source.ts';
import { checkSnapshot, confirmsRotation } from './snapshot-check.ts';
import type { TicketHolder } from './tickets.ts';
import { hashSecret, type SessionId } from './token.ts';

/** A session, and the SHA-256 of the secret that was presented for it. */
export interface PresentedSecret {
  readonly id: SessionId;
  readonly hash: Buffer;
}

interface EndedDecision<F> {
  readonly is: 'ended';
  readonly reason: string;
  /** Undefined: `default`. */
  readonly tenant?: string;
  readonly from: F;
}

/** Decision that follows from the snapshot in Redis alone. */
export type CachedDecision =
  | {
      readonly is: 'live';
      readonly snapshot: Snapshot;
      readonly secret: 'current' | 'previous';
      readonly from: 'redis';
    }
  | EndedDecision<'redis'>;

/** Decisions of the source that no activity can change, by session and secret. */
export interface RejectedTokens<R extends object> {
  find(presented: PresentedSecret): R | undefined;
  keep(presented: PresentedSecret, decision: R): void;
}

const REJECTED_TTL_MS = 2_000;
const MAX_REJECTED = 10_000;

/**
 * Keeps the last 10,000 rejections for 2 s each: a retired secret never becomes valid again, so its holder costs one
 * query in 2 s instead of one per request. Look up only after everything that could accept the secret.
 */
export const createRejectedTokens = <R extends object>(): RejectedTokens<R> => {
  const kept = new LRUCache<string, R>({ max: MAX_REJECTED, ttl: REJECTED_TTL_MS });
  const keyOf = ({ id, hash }: PresentedSecret): string => id + hash.toString('base64url');
  return {
    find: (presented) => kept.get(keyOf(presented)),
    keep: (presented, decision) => void kept.set(keyOf(presented), decision),
  };
};

export interface DecisionDeps<R extends object> {
  readonly clock: Clock;
  readonly log: Logger;
  readonly snapshots: Pick<SnapshotStore, 'read'>;
  readonly rejected: RejectedTokens<R>;
  /** Result of the cache: a decision, no entry, an entry that decides nothing, or a fault. */
  readonly onCache?: (result: 'hit' | 'miss' | 'stale' | 'bypass') => void;
}

/** Source of truth behind the snapshots, and how it is used. */
export interface DecisionSource<D, P, R> {
  /** True if the marker of an unknown id in Redis decides: for the service that writes it. */
  readonly acceptsUnknown?: boolean;
  /** `cached` is undefined after a fault of Redis. */
  decide(deps: D, presented: P, cached: SnapshotRead | undefined): Promise<R>;
  /** True for a rejection that holds until the session itself changes. */
  isFinal(decision: R): boolean;
}

/**
 * Decides about a session: snapshot in Redis, then recent rejections, then the source. Live sessions, ends and the
 * absolute expiry are decided by the snapshot; a wrong secret, idleness and age are not. Rejects as the source does.
 */
export const decideSession = async <R extends object, D extends DecisionDeps<R>, P extends PresentedSecret>(
  deps: D,
  presented: P,
  source: DecisionSource<D, P, R>,
): Promise<CachedDecision | R> => {
  const cached = await deps.snapshots.read(presented.id).catch((error: unknown) => {
    // A fault of Redis, or its timeout: the source decides.
    deps.log.debug({ error }, 'session.snapshot_failed');
    return undefined;
  });
  const decision = cached && decideByCache(cached, presented.hash, deps.clock.now(), source.acceptsUnknown);
  deps.onCache?.(decision === undefined ? cacheResult(cached) : 'hit');
  if (decision !== undefined) return decision;
  const rejected = deps.rejected.find(presented);
  if (rejected !== undefined) return rejected;
  const decided = await source.decide(deps, presented, cached);
  if (source.isFinal(decided)) deps.rejected.keep(presented, decided);
  return decided;
};

const cacheResult = (cached: SnapshotRead | undefined): 'miss' | 'stale' | 'bypass' => {
  if (cached === undefined) return 'bypass';
  return cached.is === 'missing' ? 'miss' : 'stale';
};

/** Reason of the marker that Redis holds for an id without a session. */
const UNKNOWN = 'unknown';

/** True for the tombstone of a session; false for the marker of an unknown id. */
export const isTombstone = (read: SnapshotRead): read is Extract<SnapshotRead, { is: 'ended' }> =>
  read.is === 'ended' && read.reason !== UNKNOWN;

const decideByCache = (
  cached: SnapshotRead,
  hash: Buffer,
  now: number,
  acceptsUnknown = false,
): CachedDecision | undefined => {
  if (cached.is === 'missing') return undefined;
  if (cached.is === 'ended') {
    return acceptsUnknown || isTombstone(cached) ? { ...cached, from: 'redis' } : undefined;
  }
  const checked = checkSnapshot(hash, cached.snapshot, now);
  if (checked.ok) return { is: 'live', snapshot: checked.snapshot, secret: checked.secret, from: 'redis' };
  return checked.why === 'expired' ? endedBy(cached.snapshot, 'expired', 'redis') : undefined;
};

/** End by a time limit of a session. */
const endedBy = <F>({ tenant }: Snapshot, reason: string, from: F): EndedDecision<F> => ({
  is: 'ended',
  reason,
  ...(tenant === DEFAULT_TENANT ? {} : { tenant }),
  from,
});

/** Decision of Redis, or else of the session service. */
export type SessionDecision =
  | { readonly is: 'live'; readonly snapshot: Snapshot; readonly from: 'redis' | 'service' }
  | EndedDecision<'redis' | 'service'>
  /** No such session, or a secret that it does not have. */
  | { readonly is: 'invalid'; readonly from: 'service' }
  /** Redis and the session service failed; distinct from `invalid`. */
  | { readonly is: 'unavailable'; readonly from: 'service' };

export interface SessionDecisionDeps extends DecisionDeps<SessionDecision> {
  readonly source: Pick<SessionSource, 'check' | 'confirm'>;
}

/** Time for Redis, in ms, after which the session service decides. */
export const SNAPSHOT_TIMEOUT_MS = 250;

const SESSION_SERVICE: DecisionSource<SessionDecisionDeps, PresentedSecret, SessionDecision> = {
  decide: async ({ source, clock, log }, { id, hash }) => {
    try {
      return decideBySource(await source.check(id), hash, clock.now());
    } catch (error) {
      log.debug({ error }, 'session.source_failed');
      return { is: 'unavailable', from: 'service' };
    }
  },
  // Idleness is not final: an activity may still be buffered.
  isFinal: (decision) => decision.is === 'invalid' || (decision.is === 'ended' && decision.reason !== 'idle'),
};

const decideBySource = (result: SessionSourceResult, hash: Buffer, now: number): SessionDecision => {
  if (result.is === 'ended') return { ...result, from: 'service' };
  if (result.is === 'unknown') return { is: 'invalid', from: 'service' };
  const { snapshot } = result;
  const checked = checkSnapshot(hash, snapshot, now);
  // The source has just read it, so its age does not count.
  if (checked.ok || checked.why === 'stale') return { is: 'live', snapshot, from: 'service' };
  return checked.why === 'mismatch' ? { is: 'invalid', from: 'service' } : endedBy(snapshot, checked.why, 'service');
};

/** Decides about a token whose signature is valid, and confirms the new secret of a rotation. Never rejects. */
export const evaluateSession = async (
  deps: SessionDecisionDeps,
  { id, secret }: { readonly id: SessionId; readonly secret: string },
): Promise<SessionDecision> => {
  const hash = hashSecret(secret);
  const decision = await decideSession(deps, { id, hash }, SESSION_SERVICE);
  if (decision.is === 'live') confirmSecret(deps, hash, decision.snapshot);
  return decision;
};

/** Decides about the holder of a redeemed ticket by the secret that it was issued under. Never rejects. */
export const evaluateTicket = (deps: SessionDecisionDeps, { id, secretHash }: TicketHolder): Promise<SessionDecision> =>
  decideSession(deps, { id, hash: Buffer.from(secretHash, 'base64url') }, SESSION_SERVICE);

/** Reports the use of a rotation's new secret in the background, which ends the previous secret. */
const confirmSecret = ({ source, clock, log }: SessionDecisionDeps, hash: Buffer, snapshot: Snapshot): void => {
  if (source.confirm === undefined || !confirmsRotation(hash, snapshot, clock.now())) return;
  source.confirm(snapshot.id, snapshot.rev).catch((error: unknown) => {
    log.debug({ error }, 'session.confirm_failed');
  });
};
