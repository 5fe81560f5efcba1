import { AppError } from '@muster/protocol/errors';
import {
  type CachedDecision,
  type DecisionDeps,
  type DecisionSource,
  decideSession,
  type PresentedSecret,
} from '@muster/session/session-decision';
import type { Snapshot, SnapshotRead } from '@muster/session/session-snapshot';
import { checkSnapshot, isIdle, matchSecret } from '@muster/session/snapshot-check';
import { hashSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import type { Snapshots } from './ports.ts';
import { type SessionRecord, toSnapshot } from './session-record.ts';
import type { SnapshotLoader } from './snapshot-loader.ts';

/** The source of a result; a metric label. */
type Source = 'local' | 'redis' | 'postgres';

/** The result of checking a token. */
export type Authenticated =
  | {
      readonly ok: true;
      readonly snapshot: Snapshot;
      /** Present when the session was read from Postgres. */
      readonly record: SessionRecord | undefined;
      readonly secret: 'current' | 'previous';
      /** Index of the signing key; above 0 the token should be signed again. */
      readonly keyIndex: number;
      readonly source: Source;
    }
  | { readonly ok: false; readonly why: 'invalid'; readonly source: Source }
  | {
      readonly ok: false;
      readonly why: 'ended';
      readonly id: SessionId;
      readonly reason: string;
      /** Undefined: `default`, or an unknown session. */
      readonly tenant: string | undefined;
      readonly source: Source;
    }
  /** A superseded secret of the session. */
  | {
      readonly ok: false;
      readonly why: 'reused';
      readonly record: SessionRecord;
      readonly kind: 'late' | 'stale';
      readonly source: Source;
    };

/** The tenant of the session of a valid token; undefined: `default`. */
export const tenantOfAuthenticated = (
  result: Exclude<Authenticated, { readonly ok: false; readonly why: 'invalid' }>,
): string | undefined => {
  if (result.ok) return result.snapshot.tenant;
  return result.why === 'reused' ? result.record.tenant : result.tenant;
};

export interface AuthenticateDeps extends DecisionDeps<Authenticated> {
  readonly signer: TokenSigner;
  readonly snapshots: Snapshots;
  readonly loader: SnapshotLoader;
  /** Ms since the epoch of an activity that Postgres does not have yet. */
  readonly pendingTouch: (id: SessionId) => Promise<number | undefined>;
  readonly onKey: (keyIndex: number | undefined) => void;
  readonly onStaleAccepted: () => void;
}

/** Age up to which a snapshot is accepted while Postgres is down, in ms. */
const MAX_STALE_MS = 3_600_000;

interface PresentedToken extends PresentedSecret {
  readonly keyIndex: number;
}

/**
 * Authenticates a token: signature without I/O, then the snapshot in Redis, then Postgres. While Redis is down it is
 * only slower. Rejects with a 503 code when neither store answers; a fault is never a rejection of the token.
 */
export const authenticate = async (deps: AuthenticateDeps, text: string): Promise<Authenticated> => {
  const verified = deps.signer.verify(text);
  deps.onKey(verified.ok ? verified.keyIndex : undefined);
  if (!verified.ok) return { ok: false, why: 'invalid', source: 'local' };
  const { id, secret, keyIndex } = verified;
  const token = { id, keyIndex, hash: hashSecret(secret) };
  const decision = await decideSession(deps, token, POSTGRES);
  return 'is' in decision ? byCache(decision, token) : decision;
};

const byCache = (decision: CachedDecision, { id, keyIndex }: PresentedToken): Authenticated => {
  if (decision.is === 'ended') {
    const { reason, tenant } = decision;
    return { ok: false, why: 'ended', id, reason, tenant, source: 'redis' };
  }
  const { snapshot, secret } = decision;
  return { ok: true, snapshot, record: undefined, secret, keyIndex, source: 'redis' };
};

const POSTGRES: DecisionSource<AuthenticateDeps, PresentedToken, Authenticated> = {
  acceptsUnknown: true,
  decide: async (deps, token, cached) => {
    try {
      return await byRecord(deps, token);
    } catch (error) {
      return acceptStale(deps, token, cached, error);
    }
  },
  // Idleness is not final: an activity may still be buffered.
  isFinal: (decision) => !decision.ok && !(decision.why === 'ended' && decision.reason === 'idle'),
};

/** While Postgres is down, a snapshot that has nothing against it but its age is accepted for an hour. */
const acceptStale = (
  { clock, onStaleAccepted }: AuthenticateDeps,
  { hash, keyIndex }: PresentedToken,
  cached: SnapshotRead | undefined,
  error: unknown,
): Authenticated => {
  const isFault = error instanceof AppError && (error.code === 'DATABASE_UNAVAILABLE' || error.code === 'OVERLOADED');
  if (!isFault || cached?.is !== 'live') throw error;
  const now = clock.now();
  const { snapshot } = cached;
  const checked = checkSnapshot(hash, snapshot, now);
  const isOnlyStale = !checked.ok && checked.why === 'stale';
  if (!isOnlyStale || now > snapshot.freshUntil + MAX_STALE_MS) throw error;
  onStaleAccepted();
  const secret = matchSecret(hash, snapshot, now) === 'previous' ? 'previous' : 'current';
  return { ok: true, snapshot, record: undefined, secret, keyIndex, source: 'redis' };
};

const byRecord = async (deps: AuthenticateDeps, { id, hash, keyIndex }: PresentedToken): Promise<Authenticated> => {
  const found = await deps.loader.load(id);
  const state = await evaluateRecord(deps, id, found);
  if (state.is === 'ended') {
    return { ok: false, why: 'ended', id, reason: state.reason, tenant: found?.tenant, source: 'postgres' };
  }
  const { record, snapshot } = state;
  const secret = matchSecret(hash, record, deps.clock.now());
  if (secret === 'current' || secret === 'previous') {
    return { ok: true, snapshot, record, secret, keyIndex, source: 'postgres' };
  }
  const kind = secret === 'retired' ? 'late' : 'stale';
  return { ok: false, why: 'reused', record, kind, source: 'postgres' };
};

/** The state of a session by its row and pending activity. */
type EvaluatedSession =
  | { readonly is: 'live'; readonly record: SessionRecord; readonly snapshot: Snapshot }
  | { readonly is: 'ended'; readonly reason: string };

type RecordDeps = Pick<AuthenticateDeps, 'clock' | 'snapshots' | 'log' | 'pendingTouch'>;

/** Evaluates a row and stores the result in Redis for the next check. */
export const evaluateRecord = async (
  deps: RecordDeps,
  id: SessionId,
  found: SessionRecord | undefined,
): Promise<EvaluatedSession> => {
  if (found === undefined) {
    await bestEffort(deps, () => deps.snapshots.putUnknown(id));
    return { is: 'ended', reason: 'unknown' };
  }
  if (found.endReason !== null) {
    const reason = found.endReason;
    await bestEffort(deps, () => deps.snapshots.tomb(id, found.rev, reason, found.tenant));
    return { is: 'ended', reason };
  }
  const now = deps.clock.now();
  if (now >= found.expiresAt) return { is: 'ended', reason: 'expired' };
  const record = await withPendingTouch(deps, found, now);
  if (isIdle(record, now)) return { is: 'ended', reason: 'idle' };
  const snapshot = toSnapshot(record, now);
  const ended = await bestEffort(deps, () => fill(deps, snapshot));
  return ended ?? { is: 'live', record, snapshot };
};

/** Stores the snapshot; resolves with the end if the session was ended while it was read. */
const fill = async ({ snapshots }: RecordDeps, snapshot: Snapshot): Promise<EvaluatedSession | undefined> => {
  const stored = await snapshots.put(snapshot);
  if (stored.ok) return undefined;
  if (stored.newer.is === 'ended') return { is: 'ended', reason: stored.newer.reason };
  if (stored.newer.is === 'live' && stored.newer.snapshot.rev === snapshot.rev) await snapshots.refresh(snapshot);
  return undefined;
};

/** Reads pending activity if the row is idle. */
const withPendingTouch = async (deps: RecordDeps, record: SessionRecord, now: number): Promise<SessionRecord> => {
  if (!isIdle(record, now)) return record;
  const touched = await bestEffort(deps, () => deps.pendingTouch(record.id));
  return touched === undefined || touched <= record.lastSeenAt ? record : { ...record, lastSeenAt: touched };
};

const bestEffort = async <T>(
  { log }: Pick<AuthenticateDeps, 'log'>,
  work: () => Promise<T>,
): Promise<T | undefined> => {
  try {
    return await work();
  } catch (error) {
    log.debug({ error }, 'session.cache_write_failed');
    return undefined;
  }
};

interface TokenAuthenticatorDeps extends AuthenticateDeps {
  readonly onChecked: (result: string, source: Source, seconds: number) => void;
}

/** Metric labels of end reasons; other reasons are `revoked`. */
const END_LABELS: Readonly<Record<string, string>> = {
  logout: 'revoked',
  expired: 'expired',
  idle: 'expired',
  unknown: 'unknown',
};

/** {@link authenticate} with metrics. */
export const createTokenAuthenticator =
  (deps: TokenAuthenticatorDeps) =>
  async (token: string): Promise<Authenticated> => {
    const startedAt = deps.clock.monotonic();
    const seconds = (): number => (deps.clock.monotonic() - startedAt) / 1000;
    try {
      const result = await authenticate(deps, token);
      deps.onChecked(labelOf(result), result.source, seconds());
      return result;
    } catch (error) {
      deps.onChecked('error', 'postgres', seconds());
      throw error;
    }
  };

const labelOf = (result: Authenticated): string => {
  if (result.ok) return 'valid';
  if (result.why === 'invalid') return 'bad_signature';
  return result.why === 'ended' ? (END_LABELS[result.reason] ?? 'revoked') : 'revoked';
};
