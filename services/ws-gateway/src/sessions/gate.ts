import { type Clock, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { checkSession } from '@muster/session/check';
import type { Snapshot, SnapshotRead, SnapshotStore } from '@muster/session/snapshot';
import type { SessionId, TokenSigner } from '@muster/session/token';
import type { Admission, Identity, SessionGate } from '../core/ports.ts';
import type { SessionRegistry } from '../core/session-registry.ts';
import type { SessionSource, SourceAnswer } from './source.ts';

export interface GateDeps {
  readonly signer: TokenSigner;
  readonly registry: SessionRegistry;
  readonly snapshots: Pick<SnapshotStore, 'read'>;
  readonly source: Pick<SessionSource, 'check'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Counts verdicts by where they came from. */
  onVerdict(
    result: 'live' | 'invalid' | 'ended' | 'unavailable',
    source: 'local' | 'redis' | 'service',
  ): void;
}

/** {@link SessionGate}, and what can be told without asking anybody. */
export interface Gate extends SessionGate {
  /** Whether one of the tokens was signed by us. No I/O. */
  isGenuine(tokens: readonly string[]): boolean;
}

/** Patience with Redis during a handshake. */
const SNAPSHOT_BUDGET_MS = 250;
const GUEST_NAME_LENGTH = 8;
/** The reason of the marker that stands in Redis for ids that nobody knows. */
const UNKNOWN = 'unknown';

interface Token {
  readonly id: SessionId;
  readonly secret: string;
}

/** Signature first, then Redis, then the session service. Nothing is read before a signature holds. */
export const createGate = (deps: GateDeps): Gate => {
  const { signer, registry } = deps;

  const genuine = (tokens: readonly string[]): Token | undefined => {
    for (const token of tokens) {
      const verified = signer.verify(token);
      if (verified.ok) return verified;
    }
    return undefined;
  };

  return {
    isGenuine: (tokens) => genuine(tokens) !== undefined,
    admit: async (tokens, holder) => {
      const token = genuine(tokens);
      if (token === undefined) {
        deps.onVerdict('invalid', 'local');
        return { ok: false, why: 'invalid' };
      }
      // Before any question is asked: an end that is announced meanwhile must find the holder.
      registry.hold(token.id, holder);
      const admission = await judge(deps, token);
      if (!admission.ok) registry.release(token.id, holder);
      return admission;
    },
    transfer: (id, from, to) => {
      registry.hold(id, to);
      registry.release(id, from);
    },
    release: registry.release,
  };
};

const judge = async (deps: GateDeps, token: Token): Promise<Admission> => {
  const cached = await readSnapshot(deps, token.id);
  if (cached.is === 'ended' && cached.reason !== UNKNOWN) return ended(deps, cached.reason, 'redis');
  if (cached.is === 'live') {
    const checked = checkSession(token, cached.snapshot, deps.clock.now());
    if (checked.ok) return live(deps, checked.snapshot, 'redis');
    if (checked.why === 'expired') return ended(deps, 'expired', 'redis');
    // Mismatch, idleness and staleness are never decided from a cached value.
  }
  let answer: SourceAnswer;
  try {
    answer = await deps.source.check(token.id);
  } catch (error) {
    deps.log.debug({ error }, 'session.source_failed');
    deps.onVerdict('unavailable', 'service');
    return { ok: false, why: 'unavailable' };
  }
  return judgeTruth(deps, token, answer);
};

const judgeTruth = (deps: GateDeps, token: Token, answer: SourceAnswer): Admission => {
  if (answer.is === 'ended') return ended(deps, answer.reason, 'service');
  if (answer.is === 'unknown') return invalid(deps);
  const checked = checkSession(token, answer.snapshot, deps.clock.now());
  if (checked.ok) return live(deps, checked.snapshot, 'service');
  switch (checked.why) {
    case 'mismatch':
      return invalid(deps);
    case 'expired':
    case 'idle':
      return ended(deps, checked.why, 'service');
    case 'stale': // It comes from the truth just now.
      return live(deps, answer.snapshot, 'service');
    default:
      return checked.why satisfies never;
  }
};

const readSnapshot = async ({ snapshots, log }: GateDeps, id: SessionId): Promise<SnapshotRead> => {
  try {
    return await within(SNAPSHOT_BUDGET_MS, 'reading the session', snapshots.read(id));
  } catch (error) {
    log.debug({ error }, 'session.snapshot_failed');
    return { is: 'missing' };
  }
};

const live = (deps: GateDeps, snapshot: Snapshot, source: 'redis' | 'service'): Admission => {
  deps.onVerdict('live', source);
  return { ok: true, identity: identityOf(snapshot) };
};

const ended = (deps: GateDeps, reason: string, source: 'redis' | 'service'): Admission => {
  deps.onVerdict('ended', source);
  return { ok: false, why: 'ended', reason };
};

const invalid = (deps: GateDeps): Admission => {
  deps.onVerdict('invalid', 'service');
  return { ok: false, why: 'invalid' };
};

/** A guest has no user id; the beginning of its session id keeps two guests apart. */
const identityOf = ({ id, userId, expiresAt }: Snapshot): Identity => ({
  sessionId: id,
  user: userId ?? `guest:${id.slice(0, GUEST_NAME_LENGTH)}`,
  expiresAt,
});
