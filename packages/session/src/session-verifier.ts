import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { createTouchBuffer, createTouchThrottle } from './activity.ts';
import { type CredentialHeaders, type CredentialStatus, firstLiveSession, readCredential } from './credential.ts';
import { createSessionCache } from './session-cache.ts';
import {
  createRejectedTokens,
  evaluateSession,
  type SessionDecision,
  SNAPSHOT_TIMEOUT_MS,
} from './session-decision.ts';
import { createSessionEventsSubscriber } from './session-events-subscriber.ts';
import { createSnapshotStore, type Snapshot } from './session-snapshot.ts';
import { createSessionSource } from './session-source.ts';
import { createTokenSigner } from './token.ts';

/** Requirements beyond a live session. */
export interface Requirements {
  /** Least authenticator assurance level, 0 to 3. */
  readonly aal?: number;
  /** Longest time since the user authenticated, in seconds. */
  readonly maxAuthAgeS?: number;
  readonly tenant?: string;
}

/** Result for a request. `unavailable` is a fault of the stores, never a rejection. */
export type VerifiedSession =
  | { readonly ok: true; readonly session: Snapshot }
  | { readonly ok: false; readonly why: 'none' | 'ambiguous' | 'invalid' | 'unavailable' }
  | { readonly ok: false; readonly why: 'ended'; readonly reason: string }
  | { readonly ok: false; readonly why: 'step_up'; readonly require: Requirements };

/** Verifies sessions inside an application: signature, then memory, then Redis, then the session service. */
export interface SessionVerifier extends AsyncDisposable {
  /** Never rejects. */
  verify(headers: CredentialHeaders, require?: Requirements): Promise<VerifiedSession>;
  readonly cookieName: string;
  /** Number of sessions in memory. */
  cached(): number;
}

export interface SessionVerifierOptions {
  /** `SESSION_SECRETS` of the session service; any of them verifies. */
  readonly sessionSecrets: readonly string[];
  readonly cookieName: string;
  /** Redis of the fleet. */
  readonly redis: RedisConnections;
  /** Internal listeners of the session services, queried for what Redis does not hold. */
  readonly service: { readonly urls: readonly string[]; readonly apiKey: string };
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Sessions in memory; default 10,000. 0 turns the memory off. */
  readonly cacheSize?: number;
  /** Lifetime of an entry in ms; default 5000. The change of a session removes its entry at once. */
  readonly cacheMs?: number;
}

const CACHE_SIZE = 10_000;
const CACHE_MS = 5_000;

/** Opens a verifier and its subscription to session changes. While Redis is down, the session service is queried. */
export const createSessionVerifier = (options: SessionVerifierOptions): SessionVerifier => {
  const { redis, clock, log, metrics } = options;
  const signer = createTokenSigner(options.sessionSecrets);
  const cache = createSessionCache<Snapshot>({
    clock,
    max: options.cacheSize ?? CACHE_SIZE,
    ttlMs: options.cacheMs ?? CACHE_MS,
    // Without the bus no change would remove an entry.
    isTrusted: () => subscriber.healthy(),
    valueOf: (snapshot) => snapshot,
  });
  const subscriber = createSessionEventsSubscriber({
    ...{ redis, clock, log, metrics },
    onEnded: cache.forget,
    onChanged: ({ ids }) => ids.forEach(cache.forget),
    onLost: cache.forgetAll,
  });
  const decisionDeps = {
    ...{ clock, log },
    snapshots: createSnapshotStore({ redis, clock, readTimeoutMs: SNAPSHOT_TIMEOUT_MS }),
    source: createSessionSource(options.service),
    rejected: createRejectedTokens<SessionDecision>(),
  };
  const count = createVerificationCounter(metrics);
  const recordActivity = createActivityRecorder(options);
  const pass = (session: Snapshot, require: Requirements, source: Verified['source']): Verified => {
    recordActivity(session);
    return { result: applyRequirements(session, require, clock), source };
  };
  const check = async (text: string, require: Requirements): Promise<Verified> => {
    const known = cache.find(text);
    if (known !== undefined) return pass(known, require, 'local');
    const token = signer.verify(text);
    if (!token.ok) return FORGED;
    const decision = await cache.query(text, token, () => evaluateSession(decisionDeps, token));
    return decision.is === 'live' ? pass(decision.snapshot, require, decision.from) : rejectedBy(decision);
  };
  const checkAll = async (tokens: readonly string[], require: Requirements): Promise<VerifiedSession> =>
    count((await firstLiveSession(tokens, (token) => check(token, require), statusOf)) ?? FORGED);

  return {
    cookieName: options.cookieName,
    cached: cache.size,
    verify: async (headers, require = NOTHING_REQUIRED) => {
      const { via, tokens } = readCredential(headers, options.cookieName);
      if (via === 'none' || via === 'ambiguous') {
        return count({ result: { ok: false, why: via }, source: 'local' });
      }
      const known = cache.find(tokens[0] ?? '');
      return known === undefined ? checkAll(tokens, require) : count(pass(known, require, 'local'));
    },
    [Symbol.asyncDispose]: () => subscriber[Symbol.asyncDispose](),
  };
};

const NOTHING_REQUIRED: Requirements = {};

/** Records the activity of sessions in Redis in the background, at most once per interval and session. */
const createActivityRecorder = ({ redis, clock, log }: SessionVerifierOptions): ((session: Snapshot) => void) => {
  const throttle = createTouchThrottle({ clock });
  const buffer = createTouchBuffer({ redis });
  return (session) => {
    if (!throttle.admits(session)) return;
    buffer.add([{ id: session.id, at: clock.now() }]).catch((error: unknown) => {
      log.debug({ error }, 'session.touch_failed');
    });
  };
};

/** Result for one token, and the store that it came from. */
interface Verified {
  readonly result: VerifiedSession;
  readonly source: 'local' | 'redis' | 'service';
}

const FORGED: Verified = { result: { ok: false, why: 'invalid' }, source: 'local' };

/** A session below the requirements is live: its user should step up. */
const statusOf = (verified: Verified): CredentialStatus => {
  if (verified === FORGED) return 'forged';
  const { result } = verified;
  if (result.ok || result.why === 'step_up') return 'live';
  return result.why === 'ended' || result.why === 'unavailable' ? result.why : 'invalid';
};

const rejectedBy = (decision: Exclude<SessionDecision, { is: 'live' }>): Verified => ({
  result:
    decision.is === 'ended' ? { ok: false, why: 'ended', reason: decision.reason } : { ok: false, why: decision.is },
  source: decision.from,
});

/** A session of another tenant is invalid; one that is too weak or too old needs a step-up. */
const applyRequirements = (session: Snapshot, require: Requirements, clock: Clock): VerifiedSession => {
  if (require.tenant !== undefined && require.tenant !== session.tenant) return { ok: false, why: 'invalid' };
  const authenticatedAt = session.about?.auth.time ?? session.createdAt;
  const isWeak = require.aal !== undefined && session.aal < require.aal;
  const isOld = require.maxAuthAgeS !== undefined && clock.now() - authenticatedAt > require.maxAuthAgeS * 1_000;
  return isWeak || isOld ? { ok: false, why: 'step_up', require } : { ok: true, session };
};

const createVerificationCounter = (metrics: Metrics) => {
  const verified = metrics.counter('session_verifier_checks_total');
  const fromMemory = verified.with({ result: 'live', source: 'local' });
  return ({ result, source }: Verified): VerifiedSession => {
    if (result.ok && source === 'local') fromMemory.inc();
    else verified.inc({ result: result.ok ? 'live' : result.why, source });
    return result;
  };
};
