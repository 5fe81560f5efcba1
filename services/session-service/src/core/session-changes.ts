import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/random';
import { hashSecret, newSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import { replayed, secretUnder } from './idempotent-secret.ts';
import { mergePatch } from './merge-patch.ts';
import { POLICIES, policyFor } from './policies.ts';
import {
  type Changed,
  type ChangeOf,
  type ChangeStore,
  type Idempotency,
  type Raise,
  type Rewrite,
  type SessionStore,
  SYSTEM,
  type Upgrade,
} from './ports.ts';
import type { Propagation } from './propagation.ts';
import type { SessionRecord } from './session.ts';
import { DEFAULT_LIMIT, type SessionLimit } from './session-limit.ts';
import type { DerivedKeys } from './signing-keys.ts';

type Refused = Extract<Changed, { ok: false }>;

/** A session with a new secret: the token is shown once. */
export type RotateResult =
  | { readonly ok: true; readonly session: SessionRecord; readonly token: string }
  | Refused;

export type UpgradeResult =
  | {
      readonly ok: true;
      readonly session: SessionRecord;
      readonly token: string;
      readonly isReplay?: boolean;
    }
  | Refused
  /** The idempotency key stands for another request, or for a session whose token has changed since. */
  | { readonly ok: false; readonly why: 'key_reused' | 'rotated' }
  | { readonly ok: false; readonly why: 'disabled' }
  | { readonly ok: false; readonly why: 'not_guest' }
  | { readonly ok: false; readonly why: 'limit'; readonly sessions: readonly SessionRecord[] };

export type PatchResult = { readonly ok: true; readonly session: SessionRecord } | Refused;

/** What a login adds to a guest's session. */
export interface UpgradeRequest extends Omit<Raise, 'secretHash'> {
  readonly userId: string;
  readonly remember: boolean;
  readonly idp: string | null;
  readonly idpSid: string | null;
  readonly idpSub: string | null;
}

/** A change of label, data or grants; `data` is a merge patch. */
export interface Patch extends Omit<Rewrite, 'data'> {
  readonly data: Readonly<Record<string, unknown>> | undefined;
}

/** Changes of live sessions: each is a new revision, told to the whole fleet. */
export interface SessionChanges {
  /** A new secret in the place of the one with this hash; that one stays good until the new one is seen. */
  rotate(of: ChangeOf, secretHash: string): Promise<RotateResult>;
  /** Starts the last 30 s of the old secret. Never rejects. */
  confirm(id: SessionId, rev: number): Promise<void>;
  stepUp(of: ChangeOf, raise: Omit<Raise, 'secretHash'>): Promise<RotateResult>;
  /** With an idempotency key the same request answers the same session and token for a day. */
  upgrade(of: ChangeOf, request: UpgradeRequest, idempotency?: Idempotency): Promise<UpgradeResult>;
  /** Throws what `check` throws for data that has grown too large. */
  patch(
    of: ChangeOf,
    patch: Patch,
    check: (data: Readonly<Record<string, unknown>>) => void,
  ): Promise<PatchResult>;
}

export interface ChangesDeps {
  readonly random: Random;
  readonly log: Logger;
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  readonly store: ChangeStore & Pick<SessionStore, 'find'>;
  readonly propagation: Propagation;
  readonly limit?: SessionLimit;
  readonly onRotated: (why: string) => void;
}

/** Postgres first, then Redis, then the bus; old privileges never outlive the revision that held them. */
export const createSessionChanges = (deps: ChangesDeps): SessionChanges => {
  const told = async <C extends Changed>(changed: C): Promise<C> => {
    if (changed.ok) await deps.propagation.deliver(changed.posted, [changed.session]);
    return changed;
  };
  const withSecret = async (
    why: string,
    change: (secretHash: Buffer) => Promise<Changed>,
  ): Promise<RotateResult> => {
    const secret = newSecret(deps.random);
    const changed = await told(await change(hashSecret(secret)));
    if (!changed.ok) return changed;
    deps.onRotated(why);
    return { ok: true, session: changed.session, token: deps.signer.issue(changed.session.id, secret) };
  };
  return {
    rotate: (of, secretHash) => {
      const from = Buffer.from(secretHash, 'base64url');
      return withSecret('rotated', (to) => deps.store.rotate(of, { from, to }));
    },
    confirm: async (id, rev) => {
      try {
        await told(await deps.store.confirm({ id, rev, actor: { ...SYSTEM, name: 'user' } }));
      } catch (error) {
        deps.log.debug({ error }, 'session.confirm_failed');
      }
    },
    stepUp: (of, raise) =>
      withSecret('step_up', (secretHash) => deps.store.stepUp(of, { ...raise, secretHash })),
    upgrade: (of, request, idempotency) => upgrade(deps, of, request, idempotency),
    patch: async (of, patch, check) => told(await applyPatch(deps, of, patch, check)),
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
  const asked: Upgrade = { ...login, secretHash: hashSecret(secret), policy, ...POLICIES[policy] };
  const result = await deps.store.upgrade(of, asked, { limit: deps.limit ?? DEFAULT_LIMIT, idempotency });
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

/** Merges over the revision that was read; when somebody was faster, over theirs, unless the caller named one. */
const applyPatch = async (
  { store }: ChangesDeps,
  of: ChangeOf,
  patch: Patch,
  check: (data: Readonly<Record<string, unknown>>) => void,
): Promise<Changed> => {
  const { data: changes, label, grants, reason } = patch;
  if (changes === undefined) return store.rewrite(of, { label, grants, reason, data: undefined });
  for (let tries = 1; ; tries += 1) {
    const session = await store.find(of.id);
    if (session === undefined) return { ok: false, why: 'missing' };
    if (of.rev !== undefined && of.rev !== session.rev && session.endedAt === null) {
      return { ok: false, why: 'revision', session };
    }
    const data = mergePatch(session.data, changes);
    check(data);
    const changed = await store.rewrite({ ...of, rev: session.rev }, { label, grants, reason, data });
    const wasBeaten = !changed.ok && changed.why === 'revision' && of.rev === undefined;
    if (!wasBeaten || tries === MAX_TRIES) return changed;
  }
};
