import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { LRUCache } from 'lru-cache';
import { createTouchBuffer, createTouchThrottle } from './activity.ts';
import { type CredentialStatus, firstLiveSession } from './cookie-choice.ts';
import { readCredential } from './credential.ts';
import { createRejectedTokens } from './rejected-tokens.ts';
import { checkSession } from './session-check.ts';
import { createSessionListener } from './session-events-listener.ts';
import { createSnapshotStore, type Snapshot } from './session-snapshot.ts';
import { createSessionSource } from './session-source.ts';
import {
  carriesNewSecret,
  evaluateSession,
  type SessionVerdict,
  type SignedToken,
} from './session-verdict.ts';
import { createSingleFlight } from './single-flight.ts';
import { createTokenSigner, type SessionId } from './token.ts';

/** What a request must show beyond a live session. */
export interface Requirements {
  /** Least authenticator assurance level, 0 to 3. */
  readonly aal?: number;
  /** Longest time since the user proved who they are, in seconds. */
  readonly maxAuthAgeS?: number;
  readonly tenant?: string;
}

/** The answer over a request. A fault is `unavailable`, never a refusal. */
export type VerifiedSession =
  | { readonly ok: true; readonly session: Snapshot }
  | { readonly ok: false; readonly why: 'none' | 'ambiguous' | 'invalid' | 'unavailable' }
  | { readonly ok: false; readonly why: 'ended'; readonly reason: string }
  | { readonly ok: false; readonly why: 'step_up'; readonly require: Requirements };

/** The headers that carry a credential. */
export interface CredentialHeaders {
  readonly cookie?: string | undefined;
  readonly authorization?: string | undefined;
}

/** Checks sessions inside an application: signature, then memory, then Redis, then the session service. */
export interface SessionVerifier extends AsyncDisposable {
  /** Never rejects. */
  verify(headers: CredentialHeaders, require?: Requirements): Promise<VerifiedSession>;
  readonly cookieName: string;
  /** Sessions held in memory, for metrics and tests. */
  cached(): number;
}

export interface SessionVerifierOptions {
  /** The same as those of the session service; the first signs, all are accepted. */
  readonly sessionSecrets: readonly string[];
  readonly cookieName: string;
  /** Of the fleet: its keys and its bus. */
  readonly redis: RedisConnections;
  /** Internal planes of the session services, asked when Redis does not know. */
  readonly service: { readonly urls: readonly string[]; readonly apiKey: string };
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Sessions kept in memory; default 10,000. 0 asks Redis each time. */
  readonly cacheSize?: number;
  /** How long in ms; default 5000. An end that is announced removes a session at once. */
  readonly cacheMs?: number;
}

const CACHE_SIZE = 10_000;
const CACHE_MS = 5_000;

/** Opens a verifier, and a connection that listens for ends. Works while Redis is away: then the service is asked. */
export const createSessionVerifier = (options: SessionVerifierOptions): SessionVerifier => {
  const { redis, clock, log, metrics } = options;
  const signer = createTokenSigner(options.sessionSecrets);
  const cache = new LRUCache<SessionId, Snapshot>({
    max: Math.max(1, options.cacheSize ?? CACHE_SIZE),
    ttl: options.cacheMs ?? CACHE_MS,
  });
  const asking = createSingleFlight<SessionVerdict>();
  const forget = (id: SessionId): void => {
    cache.delete(id);
    asking.forget(id);
  };
  const listener = createSessionListener({
    ...{ redis, clock, log, metrics },
    onEnded: forget,
    onChanged: ({ ids }) => ids.forEach(forget),
    onLost: () => {
      cache.clear();
      asking.forgetAll();
    },
  });
  const verdictDeps = {
    ...{ clock, log },
    snapshots: createSnapshotStore({ redis, clock }),
    source: createSessionSource(options.service),
    refusals: createRejectedTokens<SessionVerdict>(),
  };
  const isCaching = (options.cacheSize ?? CACHE_SIZE) > 0;

  const ask = (token: SignedToken): Promise<SessionVerdict> =>
    asking.once(token, async (isStillGood) => {
      const verdict = await evaluateSession(verdictDeps, token);
      const mayKeep = isCaching && isStillGood() && listener.healthy();
      if (verdict.is === 'live' && mayKeep) cache.set(token.id, verdict.snapshot);
      return verdict;
    });
  const fromMemory = (token: SignedToken): Snapshot | undefined => {
    // Deaf, we would not hear of an end: then memory is worth nothing.
    if (!listener.healthy()) return undefined;
    const known = cache.get(token.id);
    // A new secret is worth a question: the answer starts the end of the old one.
    if (known === undefined || carriesNewSecret(token, known, clock.now())) return undefined;
    return checkSession(token, known, clock.now()).ok ? known : undefined;
  };
  const count = createVerdictCounter(metrics);
  const note = createActivityNotes(options);
  const pass = (session: Snapshot, require: Requirements, source: Checked['source']): Checked => {
    note(session);
    return { answer: demand(session, require, clock), source };
  };
  const check = async (text: string, require: Requirements): Promise<Checked> => {
    const token = signer.verify(text);
    if (!token.ok) return FORGED;
    const known = fromMemory(token);
    if (known !== undefined) return pass(known, require, 'local');
    const verdict = await ask(token);
    return verdict.is === 'live' ? pass(verdict.snapshot, require, verdict.from) : refused(verdict);
  };

  return {
    cookieName: options.cookieName,
    cached: () => cache.size,
    verify: async (headers, require = {}) => {
      const tokens = tokensOf(headers, options.cookieName);
      if (typeof tokens === 'string') return count({ answer: { ok: false, why: tokens }, source: 'local' });
      const found = await firstLiveSession(tokens, (token) => check(token, require), standingOf);
      return count(found ?? FORGED);
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
};

/** Activity keeps a session alive: it is told to Redis, at most once per interval. Nobody waits for that. */
const createActivityNotes = ({
  redis,
  clock,
  log,
}: SessionVerifierOptions): ((session: Snapshot) => void) => {
  const throttle = createTouchThrottle({ clock });
  const buffer = createTouchBuffer({ redis });
  return (session) => {
    if (!throttle.admits(session)) return;
    buffer.add([{ id: session.id, at: clock.now() }]).catch((error: unknown) => {
      log.debug({ error }, 'session.touch_failed');
    });
  };
};

/** The tokens of a request, in order. */
const tokensOf = (
  headers: CredentialHeaders,
  cookieName: string,
): readonly string[] | 'none' | 'ambiguous' => {
  const credential = readCredential(
    { cookieHeader: headers.cookie, authorization: headers.authorization },
    cookieName,
  );
  if (credential.is === 'none' || credential.is === 'ambiguous') return credential.is;
  return credential.is === 'bearer' ? [credential.token] : credential.tokens;
};

/** The answer over one token, and where it came from. */
interface Checked {
  readonly answer: VerifiedSession;
  readonly source: 'local' | 'redis' | 'service';
}

const FORGED: Checked = { answer: { ok: false, why: 'invalid' }, source: 'local' };

/** A session that is weaker than asked is a live one: the answer is to step up. */
const standingOf = (checked: Checked): CredentialStatus => {
  if (checked === FORGED) return 'forged';
  const { answer } = checked;
  if (answer.ok || answer.why === 'step_up') return 'live';
  return answer.why === 'ended' || answer.why === 'unavailable' ? answer.why : 'invalid';
};

const refused = (verdict: Exclude<SessionVerdict, { is: 'live' }>): Checked => ({
  answer:
    verdict.is === 'ended'
      ? { ok: false, why: 'ended', reason: verdict.reason }
      : { ok: false, why: verdict.is },
  source: verdict.from,
});

/** A live session that must also be strong, recent, or of one tenant. Another tenant's session does not exist. */
const demand = (session: Snapshot, require: Requirements, clock: Clock): VerifiedSession => {
  if (require.tenant !== undefined && require.tenant !== session.tenant) return { ok: false, why: 'invalid' };
  const provenAt = session.about?.auth.time ?? session.createdAt;
  const isWeak = require.aal !== undefined && session.aal < require.aal;
  const isOld = require.maxAuthAgeS !== undefined && clock.now() - provenAt > require.maxAuthAgeS * 1_000;
  return isWeak || isOld ? { ok: false, why: 'step_up', require } : { ok: true, session };
};

const createVerdictCounter = (metrics: Metrics) => {
  const verified = metrics.counter('session_verifier_checks_total');
  return ({ answer, source }: Checked): VerifiedSession => {
    verified.inc({ result: answer.ok ? 'live' : answer.why, source });
    return answer;
  };
};
