import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import type { RejectedTokens } from '@muster/session/rejected-tokens';
import { checkSession, isIdle, matchSecret } from '@muster/session/session-check';
import type { Snapshot, SnapshotRead } from '@muster/session/session-snapshot';
import { hashSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import type { Snapshots } from './ports.ts';
import { type SessionRecord, toSnapshot } from './session.ts';
import type { SnapshotLoader } from './snapshot-loader.ts';

/** Where an answer came from. */
export type Source = 'local' | 'redis' | 'postgres';

/** The verdict over a presented token. */
export type Authenticated =
  | {
      readonly ok: true;
      readonly snapshot: Snapshot;
      /** Present when Postgres was asked. */
      readonly record: SessionRecord | undefined;
      readonly secret: 'current' | 'previous';
      /** 0 for the first signing key; more asks for a new signature. */
      readonly keyIndex: number;
      readonly source: Source;
    }
  | { readonly ok: false; readonly why: 'invalid'; readonly source: Source }
  | {
      readonly ok: false;
      readonly why: 'ended';
      readonly id: SessionId;
      readonly reason: string;
      /** Undefined: `default`, or nobody knows the session. */
      readonly tenant: string | undefined;
      readonly source: Source;
    }
  /** A secret that this session once had. */
  | {
      readonly ok: false;
      readonly why: 'reused';
      readonly record: SessionRecord;
      readonly kind: 'late' | 'stale';
      readonly source: Source;
    };

/** The tenant of the session that a genuine token names; undefined: `default`. */
export const tenantOfAuthenticated = (
  verdict: Exclude<Authenticated, { readonly ok: false; readonly why: 'invalid' }>,
): string | undefined => {
  if (verdict.ok) return verdict.snapshot.tenant;
  return verdict.why === 'reused' ? verdict.record.tenant : verdict.tenant;
};

export interface AuthenticateDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly signer: TokenSigner;
  readonly snapshots: Snapshots;
  readonly loader: SnapshotLoader;
  /** Ms since the epoch at which a session was last touched, if that is not in Postgres yet. */
  readonly pendingTouch: (id: SessionId) => Promise<number | undefined>;
  readonly refusals: RejectedTokens<Authenticated>;
  readonly onKey: (keyIndex: number | undefined) => void;
  readonly onStaleAccepted: () => void;
  /** What the cache was good for: an answer, nothing, an old answer, or not even asked. */
  readonly onCache?: (result: 'hit' | 'miss' | 'stale' | 'bypass') => void;
}

/** Longest trust in a snapshot that could not be checked again because Postgres is away, in ms. */
const MAX_STALE_MS = 3_600_000;

interface Token {
  readonly id: SessionId;
  readonly secret: string;
  readonly keyIndex: number;
}

/**
 * Checks a token: MAC without I/O, then the snapshot in Redis, then Postgres. Redis in trouble only makes it slower.
 * Rejects with a 503 code when neither can say; a fault is never a refusal.
 */
export const authenticate = async (deps: AuthenticateDeps, text: string): Promise<Authenticated> => {
  const token = deps.signer.verify(text);
  deps.onKey(token.ok ? token.keyIndex : undefined);
  if (!token.ok) return { ok: false, why: 'invalid', source: 'local' };
  const cached = await readSnapshot(deps, token.id);
  const verdict = cached === undefined ? undefined : judgeCached(deps, token, cached);
  deps.onCache?.(verdict === undefined ? cacheResult(cached) : 'hit');
  if (verdict !== undefined) return verdict;
  return cached?.is === 'live' && isMerelyOld(deps, token, cached.snapshot)
    ? askSourceOrTrust(deps, token, cached.snapshot)
    : askSource(deps, token);
};

const cacheResult = (cached: SnapshotRead | undefined): 'miss' | 'stale' | 'bypass' => {
  if (cached === undefined) return 'bypass';
  return cached.is === 'missing' ? 'miss' : 'stale';
};

/** Nothing but its age speaks against this snapshot. */
const isMerelyOld = ({ clock }: AuthenticateDeps, token: Token, snapshot: Snapshot): boolean => {
  const checked = checkSession(token, snapshot, clock.now());
  return !checked.ok && checked.why === 'stale';
};

/** What the cache alone may decide: good sessions, ends, and the absolute expiry. */
const judgeCached = (
  deps: AuthenticateDeps,
  token: Token,
  cached: SnapshotRead,
): Authenticated | undefined => {
  if (cached.is === 'missing') return undefined;
  if (cached.is === 'ended') {
    const { reason, tenant } = cached;
    return { ok: false, why: 'ended', id: token.id, reason, tenant, source: 'redis' };
  }
  const checked = checkSession(token, cached.snapshot, deps.clock.now());
  if (checked.ok) {
    const { snapshot, secret } = checked;
    return { ok: true, snapshot, record: undefined, secret, keyIndex: token.keyIndex, source: 'redis' };
  }
  if (checked.why !== 'expired') return undefined;
  const { tenant } = cached.snapshot;
  return { ok: false, why: 'ended', id: token.id, reason: 'expired', tenant, source: 'redis' };
};

/** What Redis says; a Redis in trouble says nothing. */
const readSnapshot = async (
  { snapshots, log }: AuthenticateDeps,
  id: SessionId,
): Promise<SnapshotRead | undefined> => {
  try {
    return await snapshots.read(id);
  } catch (error) {
    log.debug({ error }, 'session.snapshot_failed');
    return undefined;
  }
};

/** With Postgres away, a snapshot that is merely old goes on being believed for a while. */
const askSourceOrTrust = async (
  deps: AuthenticateDeps,
  token: Token,
  snapshot: Snapshot,
): Promise<Authenticated> => {
  try {
    return await askSource(deps, token);
  } catch (error) {
    const isFault =
      error instanceof AppError && (error.code === 'DATABASE_UNAVAILABLE' || error.code === 'OVERLOADED');
    if (!isFault || deps.clock.now() > snapshot.freshUntil + MAX_STALE_MS) throw error;
    deps.onStaleAccepted();
    const secret = matchSecret(hashSecret(token.secret), snapshot, deps.clock.now());
    return {
      ok: true,
      snapshot,
      record: undefined,
      secret: secret === 'previous' ? 'previous' : 'current',
      keyIndex: token.keyIndex,
      source: 'redis',
    };
  }
};

/** What Postgres has just refused is refused without another question. */
const askSource = async (deps: AuthenticateDeps, token: Token): Promise<Authenticated> => {
  const refused = deps.refusals.find(token);
  if (refused !== undefined) return refused;
  const verdict = await judgeToken(deps, token);
  // Silence is not final: activity may be on its way.
  if (!verdict.ok && !(verdict.why === 'ended' && verdict.reason === 'idle'))
    deps.refusals.keep(token, verdict);
  return verdict;
};

const judgeToken = async (deps: AuthenticateDeps, token: Token): Promise<Authenticated> => {
  const { id } = token;
  const found = await deps.loader.load(id);
  const state = await evaluateRecord(deps, id, found);
  if (state.is === 'ended') {
    return { ok: false, why: 'ended', id, reason: state.reason, tenant: found?.tenant, source: 'postgres' };
  }
  const { record, snapshot } = state;
  const secret = matchSecret(hashSecret(token.secret), record, deps.clock.now());
  if (secret === 'current' || secret === 'previous') {
    return { ok: true, snapshot, record, secret, keyIndex: token.keyIndex, source: 'postgres' };
  }
  return {
    ok: false,
    why: 'reused',
    record,
    kind: secret === 'retired' ? 'late' : 'stale',
    source: 'postgres',
  };
};

/** The state of a session as Postgres and the pending touches tell it. */
export type EvaluatedSession =
  | { readonly is: 'live'; readonly record: SessionRecord; readonly snapshot: Snapshot }
  | { readonly is: 'ended'; readonly reason: string };

type JudgeDeps = Pick<AuthenticateDeps, 'clock' | 'snapshots' | 'log' | 'pendingTouch'>;

/** Decides over a row, and leaves what it found in Redis for the next check. */
export const evaluateRecord = async (
  deps: JudgeDeps,
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

/** Stores what was read; answers the end if somebody ended the session while we were reading. */
const fill = async ({ snapshots }: JudgeDeps, snapshot: Snapshot): Promise<EvaluatedSession | undefined> => {
  const stored = await snapshots.put(snapshot);
  if (stored.ok) return undefined;
  if (stored.newer.is === 'ended') return { is: 'ended', reason: stored.newer.reason };
  if (stored.newer.is === 'live' && stored.newer.snapshot.rev === snapshot.rev)
    await snapshots.refresh(snapshot);
  return undefined;
};

/** Only a session that looks idle is worth the question. */
const withPendingTouch = async (
  deps: JudgeDeps,
  record: SessionRecord,
  now: number,
): Promise<SessionRecord> => {
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

const RESULTS: Readonly<Record<string, string>> = {
  logout: 'revoked',
  expired: 'expired',
  idle: 'expired',
  unknown: 'unknown',
};

/** {@link authenticate} with its verdicts counted and timed. */
export const createTokenAuthenticator =
  (deps: TokenAuthenticatorDeps) =>
  async (token: string): Promise<Authenticated> => {
    const begun = deps.clock.monotonic();
    const seconds = (): number => (deps.clock.monotonic() - begun) / 1000;
    try {
      const verdict = await authenticate(deps, token);
      deps.onChecked(resultOf(verdict), verdict.source, seconds());
      return verdict;
    } catch (error) {
      deps.onChecked('error', 'postgres', seconds());
      throw error;
    }
  };

const resultOf = (verdict: Authenticated): string => {
  if (verdict.ok) return 'valid';
  if (verdict.why === 'invalid') return 'bad_signature';
  return verdict.why === 'ended' ? (RESULTS[verdict.reason] ?? 'revoked') : 'revoked';
};
