import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/runtime';
import { hashSecret, newSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import { replayed, secretUnder } from './derived-session-secret.ts';
import { mergePatch } from './merge-patch.ts';
import {
  type Changed,
  type ChangeOf,
  type ChangeStore,
  type Idempotency,
  type LoginRefusal,
  type Raise,
  type Rewrite,
  type SessionStore,
  SYSTEM,
  type Upgrade,
} from './ports.ts';
import type { Propagation } from './propagation.ts';
import { DEFAULT_LIMIT } from './session-limit.ts';
import { POLICIES, policyFor } from './session-policies.ts';
import type { SessionRecord } from './session-record.ts';
import type { DerivedKeys } from './signing-keys.ts';

type Refused = Extract<Changed, { ok: false }>;

/** A session with a new secret; the token is returned once. */
export type RotateResult = { readonly ok: true; readonly session: SessionRecord; readonly token: string } | Refused;

export type UpgradeResult =
  | (Extract<RotateResult, { ok: true }> & { readonly isReplay?: boolean })
  | Refused
  | LoginRefusal
  /** The idempotency key belongs to another request, or to a session with another token by now. */
  | { readonly ok: false; readonly why: 'key_reused' | 'rotated' }
  | { readonly ok: false; readonly why: 'not_guest' };

export type PatchResult = { readonly ok: true; readonly session: SessionRecord } | Refused;

/** The login that gives a guest's session to a user. */
interface UpgradeRequest extends Omit<Upgrade, 'secretHash' | 'policy' | 'idleSeconds' | 'maxSeconds'> {
  readonly remember: boolean;
}

/** Changes of live sessions; each is a new revision, delivered to the whole fleet. */
export type SessionChanges = ReturnType<typeof createSessionChanges>;

/** Throws if the merged data exceeds its bounds. */
type DataCheck = (data: Readonly<Record<string, unknown>>) => void;

interface ChangesDeps {
  readonly random: Random;
  readonly log: Logger;
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  readonly store: ChangeStore & Pick<SessionStore, 'find'>;
  readonly propagation: Propagation;
  readonly onRotated: (why: string) => void;
}

/** Commits in Postgres, then writes to Redis, then to the bus: privileges and secret belong to one revision. */
export const createSessionChanges = (deps: ChangesDeps) => {
  const delivered = async <C extends Changed>(changed: C): Promise<C> => {
    if (changed.ok) await deps.propagation.deliver(changed.posted, [changed.session]);
    return changed;
  };
  const withSecret = async (why: string, change: (secretHash: Buffer) => Promise<Changed>): Promise<RotateResult> => {
    const secret = newSecret(deps.random);
    const changed = await delivered(await change(hashSecret(secret)));
    if (!changed.ok) return changed;
    deps.onRotated(why);
    return { ok: true, session: changed.session, token: deps.signer.issue(changed.session.id, secret) };
  };
  return {
    /** Replaces the secret with this hash; the previous secret stays valid until the first use of the new secret. */
    rotate: (of: ChangeOf, secretHash: string): Promise<RotateResult> => {
      const from = Buffer.from(secretHash, 'base64url');
      return withSecret('rotated', (to) => deps.store.rotate(of, { from, to }));
    },
    /** Starts the last 30 s of the previous secret. Never rejects. */
    confirm: async (id: SessionId, rev: number): Promise<void> => {
      try {
        await delivered(await deps.store.confirm({ id, rev, actor: { ...SYSTEM, name: 'user' } }));
      } catch (error) {
        deps.log.debug({ error }, 'session.confirm_failed');
      }
    },
    stepUp: (of: ChangeOf, raise: Omit<Raise, 'secretHash'>): Promise<RotateResult> =>
      withSecret('step_up', (secretHash) => deps.store.stepUp(of, { ...raise, secretHash })),
    /** With an idempotency key, repeats within a day return the same session and token. */
    upgrade: (of: ChangeOf, request: UpgradeRequest, idempotency?: Idempotency): Promise<UpgradeResult> =>
      upgrade(deps, of, request, idempotency),
    /** Changes label, data or grants; `data` is a merge patch. */
    patch: async (of: ChangeOf, patch: Rewrite, check: DataCheck): Promise<PatchResult> =>
      delivered(await applyPatch(deps, of, patch, check)),
  };
};

const upgrade = async (
  deps: ChangesDeps,
  of: ChangeOf,
  request: UpgradeRequest,
  idempotency: Idempotency | undefined,
): Promise<UpgradeResult> => {
  const secret = idempotency ? secretUnder(deps, of.id, idempotency) : newSecret(deps.random);
  const policy = policyFor(request);
  const { remember: _, ...login } = request;
  const raise: Upgrade = { ...login, secretHash: hashSecret(secret), policy, ...POLICIES[policy] };
  const result = await deps.store.upgrade(of, raise, { limit: DEFAULT_LIMIT, idempotency });
  if (!result.ok && result.why === 'replayed') {
    return idempotency ? replayed(deps, result.session, idempotency) : { ok: false, why: 'rotated' };
  }
  if (!result.ok) {
    const isUser = result.why === 'revision' && result.session.userId !== null;
    return isUser ? { ok: false, why: 'not_guest' } : result;
  }
  const { session, posted, evicted } = result;
  deps.onRotated('upgrade');
  await Promise.all([deps.propagation.deliver(posted, [session]), deps.propagation.deliver(evicted.posted)]);
  return { ok: true, session, token: deps.signer.issue(session.id, secret) };
};

const MAX_TRIES = 5;

/** Merges with the current revision; repeats after a concurrent change, unless the caller named a revision. */
const applyPatch = async ({ store }: ChangesDeps, of: ChangeOf, patch: Rewrite, check: DataCheck): Promise<Changed> => {
  const { data: changes } = patch;
  if (changes === undefined) return store.rewrite(of, patch);
  for (let tries = 1; ; tries += 1) {
    const session = await store.find(of.id);
    if (session === undefined) return { ok: false, why: 'missing' };
    if (of.rev !== undefined && of.rev !== session.rev && session.endedAt === null) {
      return { ok: false, why: 'revision', session };
    }
    const data = mergePatch(session.data, changes);
    check(data);
    const changed = await store.rewrite({ ...of, rev: session.rev }, { ...patch, data });
    const isConflict = !changed.ok && changed.why === 'revision' && of.rev === undefined;
    if (!isConflict || tries === MAX_TRIES) return changed;
  }
};
