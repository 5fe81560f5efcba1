import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/runtime';
import { hashSecret, newSecret, newSessionId, type SessionId, type TokenSigner } from '@muster/session/token';
import { replayed, secretUnder } from './derived-session-secret.ts';
import type { SweepStore } from './expiry-sweeper.ts';
import type {
  Actor,
  Idempotency,
  LoginRefusal,
  SessionCreateResult,
  SessionEndResult,
  SessionStore,
  Snapshots,
  UserSessions,
} from './ports.ts';
import type { Propagation, PropagationState } from './propagation.ts';
import { DEFAULT_LIMIT } from './session-limit.ts';
import { POLICIES, type PolicyName, policyFor } from './session-policies.ts';
import { type EndReason, type SessionDraft, type SessionRecord, toSnapshot } from './session-record.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** A login that a back end or an issuer confirms. */
export interface Login
  extends Omit<SessionDraft, 'id' | 'kind' | 'policy' | 'secretHash' | 'idleSeconds' | 'maxSeconds'> {
  /** Undefined: the default policy of the login. */
  readonly policy: PolicyName | undefined;
  /** An absolute limit below that of the policy. */
  readonly lifeSeconds?: number | undefined;
}

export type OpenResult =
  | { readonly ok: true; readonly session: SessionRecord; readonly token: string; readonly isReplay: boolean }
  | LoginRefusal
  /** The idempotency key belongs to another request, or to a session with another token by now. */
  | { readonly ok: false; readonly why: 'key_reused' | 'rotated' };

/** The number of sessions that ended, and the state of their propagation. */
export interface EndResult {
  readonly ended: number;
  readonly propagated: PropagationState;
}

/** Opens, finds and ends sessions. Every call rejects with a 503 code when Postgres is unavailable. */
export type SessionService = ReturnType<typeof createSessionService>;

interface SessionsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  readonly store: SessionStore & Pick<SweepStore, 'touch'>;
  readonly snapshots: Pick<Snapshots, 'put'>;
  readonly propagation: Propagation;
  readonly onOpened: (kind: string, devices: number) => void;
  readonly onEnded: (reason: string, count: number) => void;
}

/** Commits in Postgres, then writes to Redis, then to the bus. */
export const createSessionService = (deps: SessionsDeps) => {
  const settle = async (ended: SessionEndResult, reason: string): Promise<EndResult> => {
    if (ended.ids.length > 0) deps.onEnded(reason, ended.ids.length);
    const [propagated] = await Promise.all([
      deps.propagation.deliver(ended.posted),
      endImpersonations(deps, ended.ids),
    ]);
    return { ended: ended.ids.length, propagated };
  };
  return {
    /** With an idempotency key, repeats within a day return the same session and token. */
    open: (login: Login, actor: Actor, idempotency?: Idempotency): Promise<OpenResult> =>
      open(deps, login, actor, idempotency),
    find: deps.store.find,
    findMany: deps.store.findMany,
    list: deps.store.list,
    /** Counts as activity now; resolves with the session afterwards. */
    extend: async (id: SessionId): Promise<SessionRecord | undefined> => {
      await deps.store.touch([{ id, at: deps.clock.now() }]);
      return deps.store.find(id);
    },
    /** Sessions that have ended already do not count. */
    end: async (ids: readonly SessionId[], reason: EndReason, actor: Actor): Promise<EndResult> =>
      settle(await deps.store.end(ids, reason, actor), reason),
    endOfUser: async (user: UserSessions, reason: EndReason, actor: Actor): Promise<EndResult> =>
      settle(await deps.store.endOfUser(user, reason, actor), reason),
  };
};

const open = async (
  deps: SessionsDeps,
  login: Login,
  actor: Actor,
  idempotency: Idempotency | undefined,
): Promise<OpenResult> => {
  const { userId, remember, auth } = login;
  const policy = login.policy ?? policyFor({ userId, remember, aal: auth.aal });
  const clocks = POLICIES[policy];
  const id = newSessionId();
  const secret = idempotency ? secretUnder(deps, id, idempotency) : newSecret(deps.random);
  const created = await deps.store.create(
    {
      ...login,
      id,
      kind: kindOf(userId, policy),
      policy,
      secretHash: hashSecret(secret),
      idleSeconds: clocks.idleSeconds,
      maxSeconds: Math.min(clocks.maxSeconds, login.lifeSeconds ?? clocks.maxSeconds),
    },
    { limit: DEFAULT_LIMIT, actor, idempotency },
  );
  if (!created.ok) {
    return created.why === 'replayed' && idempotency ? replayed(deps, created.session, idempotency) : refused(created);
  }
  const { session, evicted } = created;
  deps.onOpened(session.kind, created.devices);
  if (evicted.ids.length > 0) deps.onEnded('evicted', evicted.ids.length);
  await Promise.all([fillSnapshot(deps, session), deps.propagation.deliver(evicted.posted)]);
  return { ok: true, session, token: deps.signer.issue(session.id, secret), isReplay: false };
};

const refused = (created: Extract<SessionCreateResult, { ok: false }>): OpenResult =>
  created.why === 'replayed' ? { ok: false, why: 'rotated' } : created;

const kindOf = (userId: string | null, policy: PolicyName): SessionDraft['kind'] => {
  if (userId === null) return 'guest';
  return policy === 'service' ? 'service' : 'user';
};

/** Ends the impersonations of these sessions' users. The sweeper repeats it on failure. */
const endImpersonations = async (deps: SessionsDeps, ids: readonly SessionId[]): Promise<void> => {
  if (ids.length === 0) return;
  try {
    const ended = await deps.store.endOfActors(ids);
    if (ended.ids.length > 0) deps.onEnded('actor_ended', ended.ids.length);
    await deps.propagation.deliver(ended.posted);
  } catch (error) {
    deps.log.debug({ error }, 'session.impersonations_end_failed');
  }
};

/** Stores the snapshot; a failure costs one cache miss. */
const fillSnapshot = async ({ snapshots, clock, log }: SessionsDeps, session: SessionRecord): Promise<void> => {
  try {
    await snapshots.put(toSnapshot(session, clock.now()));
  } catch (error) {
    log.debug({ error }, 'session.cache_write_failed');
  }
};
