import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/random';
import { hashSecret, newSecret, newSessionId, type SessionId, type TokenSigner } from '@muster/session/token';
import type { SweepStore } from './expiry-sweeper.ts';
import { replayed, secretUnder } from './idempotent-secret.ts';
import { POLICIES, type PolicyName, policyFor } from './policies.ts';
import type {
  Actor,
  Idempotency,
  ListQuery,
  SessionCreateResult,
  SessionEndResult,
  SessionStore,
  Snapshots,
  UserSessions,
} from './ports.ts';
import type { Propagation, PropagationState } from './propagation.ts';
import { type EndReason, type SessionDraft, type SessionRecord, toSnapshot } from './session.ts';
import { DEFAULT_LIMIT, type SessionLimit } from './session-limit.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** A login, as a back end reports it. */
export interface Login
  extends Omit<SessionDraft, 'id' | 'kind' | 'policy' | 'secretHash' | 'idleSeconds' | 'maxSeconds'> {
  /** Undefined: chosen by the kind of login. */
  readonly policy: PolicyName | undefined;
  /** A shorter life than the policy gives. */
  readonly lifeSeconds?: number | undefined;
}

export type OpenResult =
  | { readonly ok: true; readonly session: SessionRecord; readonly token: string; readonly isReplay: boolean }
  | { readonly ok: false; readonly why: 'disabled' }
  /** The idempotency key stands for another request, or for a session whose token has changed since. */
  | { readonly ok: false; readonly why: 'key_reused' | 'rotated' }
  | { readonly ok: false; readonly why: 'limit'; readonly sessions: readonly SessionRecord[] };

/** How an end went: how many ended, and whether the whole fleet knows. */
export interface EndResult {
  readonly ended: number;
  readonly propagated: PropagationState;
}

/** The life of sessions. Everything rejects with a 503 code when Postgres cannot be asked. */
export interface SessionService {
  /** With an idempotency key the same request answers the same session and token for a day. */
  open(login: Login, actor: Actor, idempotency?: Idempotency): Promise<OpenResult>;
  find(id: SessionId): Promise<SessionRecord | undefined>;
  findMany(ids: readonly SessionId[]): Promise<SessionRecord[]>;
  /** Counts this moment as activity of a live session; answers the session as it is then. */
  extend(id: SessionId): Promise<SessionRecord | undefined>;
  list(query: ListQuery): Promise<SessionRecord[]>;
  /** Ending what has ended already is fine: 0 ended. */
  end(ids: readonly SessionId[], reason: EndReason, actor: Actor): Promise<EndResult>;
  endOfUser(which: UserSessions, reason: EndReason, actor: Actor): Promise<EndResult>;
}

export interface SessionsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  readonly store: SessionStore & Pick<SweepStore, 'touch'>;
  readonly snapshots: Pick<Snapshots, 'put'>;
  readonly propagation: Propagation;
  readonly limit?: SessionLimit;
  readonly onOpened: (kind: string, devices: number) => void;
  readonly onEnded: (reason: string, count: number) => void;
}

/** Postgres first, then Redis, then the bus. */
export const createSessionService = (deps: SessionsDeps): SessionService => {
  const settle = async (ended: SessionEndResult, reason: string): Promise<EndResult> => {
    if (ended.ids.length > 0) deps.onEnded(reason, ended.ids.length);
    const [propagated] = await Promise.all([
      deps.propagation.deliver(ended.posted),
      endImpersonations(deps, ended.ids),
    ]);
    return { ended: ended.ids.length, propagated };
  };
  return {
    open: (login, actor, idempotency) => open(deps, login, actor, idempotency),
    find: (id) => deps.store.find(id),
    findMany: (ids) => deps.store.findMany(ids),
    extend: async (id) => {
      await deps.store.touch([{ id, at: deps.clock.now() }]);
      return deps.store.find(id);
    },
    list: (query) => deps.store.list(query),
    end: async (ids, reason, actor) => settle(await deps.store.end(ids, reason, actor), reason),
    endOfUser: async (which, reason, actor) =>
      settle(await deps.store.endOfUser(which, reason, actor), reason),
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
    { limit: deps.limit ?? DEFAULT_LIMIT, actor, idempotency },
  );
  if (!created.ok) {
    return created.why === 'replayed' && idempotency
      ? replayed(deps, created.session, idempotency)
      : refused(created);
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

/** Ends what these sessions impersonate. The sweeper does it when this fails. */
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

/** A snapshot that could not be stored is merely a miss later. */
const fillSnapshot = async (
  { snapshots, clock, log }: SessionsDeps,
  session: SessionRecord,
): Promise<void> => {
  try {
    await snapshots.put(toSnapshot(session, clock.now()));
  } catch (error) {
    log.debug({ error }, 'session.cache_write_failed');
  }
};
