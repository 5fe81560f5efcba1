import { hash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import { LRUCache } from 'lru-cache';
import type { SessionDecision } from './session-decision.ts';
import type { Snapshot } from './session-snapshot.ts';
import { createSingleFlight } from './single-flight.ts';
import { checkClocks, isRotationOpen, type SessionClocks } from './snapshot-check.ts';
import { hashSecret, type SessionId } from './token.ts';

export interface SessionCacheDeps<T> {
  readonly clock: Clock;
  /** Sessions at most; the least recently used one is dropped. */
  readonly max: number;
  /** Lifetime of an entry in ms; 0 turns the cache off. */
  readonly ttlMs: number;
  /** False while the change of a session might not be noticed: then nothing is kept or found. */
  isTrusted(): boolean;
  /** Result of {@link SessionCache.find} for a session. */
  valueOf(snapshot: Snapshot): T;
}

/** A token whose signature is valid. */
interface PresentedToken {
  readonly id: SessionId;
  readonly secret: string;
}

/** A live session; without the rest of its snapshot, because every open connection may have an entry. */
interface CachedSession<T> {
  /** Digest of the token that was verified for it: memory holds no token. */
  readonly digest: string;
  readonly rev: number;
  readonly clocks: SessionClocks;
  readonly value: T;
}

export type SessionCache<T extends object> = ReturnType<typeof createSessionCache<T>>;

const ID_LENGTH = 36;

/**
 * Sessions whose token was verified recently, so that requests, and clients that reconnect together, need no store. Every announced
 * change removes an entry, and nothing is found while a change might be missed. A token that the cache does not accept is decided by the stores.
 */
export const createSessionCache = <T extends object>(deps: SessionCacheDeps<T>) => {
  const { clock, isTrusted } = deps;
  const isOn = deps.max > 0 && deps.ttlMs > 0;
  const cached = new LRUCache<SessionId, CachedSession<T>>({
    max: Math.max(1, deps.max),
    ttl: Math.max(1, deps.ttlMs),
    // Read at each use, without a timer; 0 would stand for an entry without a lifetime.
    ttlResolution: 0,
    perf: { now: () => clock.monotonic() + 1 },
  });
  const queries = createSingleFlight<SessionDecision>();

  const keep = (digest: string, snapshot: Snapshot): void => {
    const { id, rev, expiresAt, idleSeconds, lastSeenAt, freshUntil } = snapshot;
    const clocks = { expiresAt, idleSeconds, lastSeenAt, freshUntil };
    cached.set(id, { digest, rev, clocks, value: deps.valueOf(snapshot) });
  };
  const forget = (id: SessionId): void => {
    cached.delete(id);
    queries.forget(id);
  };
  return {
    /**
     * The value of the session of a token that was verified before. This is what most checks cost, so it computes one digest; the
     * signature and the secret were compared when the token was verified.
     */
    find: (text: string): T | undefined => {
      const session = cached.get(text.slice(0, ID_LENGTH) as SessionId);
      if (session === undefined || !isTrusted() || session.digest !== digestOf(text)) return undefined;
      return checkClocks(session.clocks, clock.now()) === undefined ? session.value : undefined;
    },
    /** Queries the stores about a token, and keeps a live session unless it changed meanwhile. Equal queries are joined. */
    query: (text: string, token: PresentedToken, evaluate: () => Promise<SessionDecision>): Promise<SessionDecision> =>
      queries.once(token, async (isUnchanged) => {
        const decision = await evaluate();
        if (
          decision.is === 'live' &&
          isOn &&
          isUnchanged() &&
          isTrusted() &&
          isSettled(decision.snapshot, token, clock)
        )
          keep(digestOf(text), decision.snapshot);
        return decision;
      }),
    forget,
    forgetAll: (): void => {
      cached.clear();
      queries.forgetAll();
    },
    /**
     * Applies a comparison of sessions with the stores: removes those that were not read as live, and renews those of the rest that
     * `isInUse`. An entry that is missing stays missing: the session may have changed since it was read.
     */
    revalidate: (ids: readonly SessionId[], live: readonly Snapshot[], isInUse: (id: SessionId) => boolean): void => {
      const read = new Map(live.map((snapshot) => [snapshot.id, snapshot]));
      for (const id of ids) {
        const session = cached.peek(id);
        if (session === undefined) continue;
        const snapshot = read.get(id);
        if (snapshot === undefined || snapshot.rev !== session.rev) forget(id);
        else if (isInUse(id)) keep(session.digest, snapshot);
      }
    },
    ids: (): Iterable<SessionId> => cached.keys(),
    size: (): number => cached.size,
  };
};

const digestOf = (token: string): string => hash('sha256', token, 'base64');

/**
 * True for the current secret, once its first use after a rotation was reported. The previous secret is accepted for
 * seconds only, so it is not remembered.
 */
const isSettled = (snapshot: Snapshot, { secret }: PresentedToken, clock: Clock): boolean =>
  hashSecret(secret).toString('base64url') === snapshot.secretHash && !isRotationOpen(snapshot, clock.now());
