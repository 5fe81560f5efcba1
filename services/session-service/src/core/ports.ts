import type { SessionGrant } from '@muster/session/grants';
import type { SnapshotStore } from '@muster/session/session-snapshot';
import type { SessionId } from '@muster/session/token';
import type { EndReason, LimitRule, SessionDraft, SessionRecord } from './session.ts';
import type { SessionLimit } from './session-limit.ts';

/** A committed change that Redis and the bus must hear of. */
export type Change =
  | {
      readonly k: 'end';
      readonly sessions: readonly EndedSession[];
      readonly why: string;
      /** Ms since the epoch. */
      readonly at: number;
    }
  | {
      readonly k: 'rot' | 'upd';
      readonly ids: readonly SessionId[];
      readonly why: string;
      readonly at: number;
    };

/** A session that has ended; `tenant` is missing in changes of earlier versions. */
export interface EndedSession {
  readonly id: SessionId;
  readonly rev: number;
  readonly tenant?: string;
}

/** A change and its row in the outbox, where it stays until it was delivered. */
export interface OutboxEntry {
  readonly outboxId: string;
  readonly change: Change;
}

/** Who asked for something, for the log book. */
export interface Actor {
  /** `user`, `guest`, `key:<id>`, `idp:<name>`, `legacy`, `system`. */
  readonly name: string;
  readonly ip: string | null;
  /** The `X-Request-Id` of the request; null for work of the service itself. */
  readonly requestId: string | null;
}

/** The service itself, such as the sweeper. */
export const SYSTEM: Actor = { name: 'system', ip: null, requestId: null };

/** What was ended: empty when nothing lived. */
export interface SessionEndResult {
  readonly ids: readonly SessionId[];
  readonly posted: OutboxEntry | undefined;
}
export const NOTHING_ENDED: SessionEndResult = { ids: [], posted: undefined };

export type SessionCreateResult =
  | {
      readonly ok: true;
      readonly session: SessionRecord;
      readonly evicted: SessionEndResult;
      /** Live sessions of the user, this one included; 1 for a guest. */
      readonly devices: number;
    }
  | { readonly ok: false; readonly why: 'disabled' }
  /** The newest live sessions, at most 20. */
  | { readonly ok: false; readonly why: 'limit'; readonly sessions: readonly SessionRecord[] }
  | Replay;

/** What came of the first request with an idempotency key. */
export type Replay =
  | { readonly ok: false; readonly why: 'replayed'; readonly session: SessionRecord | undefined }
  /** The key stands for another request. */
  | { readonly ok: false; readonly why: 'key_reused' };

/** Makes a request one that may be sent twice. Good for a day, per tenant and caller. */
export interface Idempotency {
  readonly caller: string;
  readonly key: string;
  /** SHA-256 of what was asked. */
  readonly requestHash: Buffer;
}

/** How a session is to be opened. */
export interface SessionCreateOptions {
  readonly limit: SessionLimit;
  readonly actor: Actor;
  readonly idempotency?: Idempotency | undefined;
}

/** How a change of one session went. */
export type Changed =
  | { readonly ok: true; readonly session: SessionRecord; readonly posted: OutboxEntry | undefined }
  | { readonly ok: false; readonly why: 'missing' }
  | { readonly ok: false; readonly why: 'ended' | 'revision'; readonly session: SessionRecord };

/** What is the same for every change of one session. */
export interface ChangeOf {
  readonly id: SessionId;
  /** The revision the caller has seen; undefined takes any. */
  readonly rev: number | undefined;
  readonly actor: Actor;
}

/** What a raise of privileges says; the old secret is dead at commit. */
export interface Raise {
  readonly secretHash: Buffer;
  readonly aal: number;
  readonly amr: readonly string[];
  /** Ms since the epoch; undefined: now. */
  readonly authTime: number | undefined;
}

/** What turns a guest into a user. */
export interface Upgrade extends Raise {
  readonly userId: string;
  readonly policy: string;
  readonly idleSeconds: number;
  readonly maxSeconds: number;
  readonly idp: string | null;
  readonly idpSid: string | null;
  readonly idpSub: string | null;
}

/** An upgrade is also a login: the limit counts. */
export type Upgraded =
  | {
      readonly ok: true;
      readonly session: SessionRecord;
      readonly posted: OutboxEntry | undefined;
      readonly evicted: SessionEndResult;
    }
  | Extract<Changed, { ok: false }>
  | { readonly ok: false; readonly why: 'disabled' }
  | { readonly ok: false; readonly why: 'limit'; readonly sessions: readonly SessionRecord[] }
  | Replay;

/** How a guest's session is to be given to a user. */
export interface UpgradeOptions {
  readonly limit: SessionLimit;
  readonly idempotency?: Idempotency | undefined;
}

/** What of a session may be rewritten; undefined stays as it is. */
export interface Rewrite {
  readonly label: string | null | undefined;
  readonly data: Readonly<Record<string, unknown>> | undefined;
  readonly grants: readonly SessionGrant[] | undefined;
  /** Why, in the words of the caller; for the log book. */
  readonly reason?: string | undefined;
}

/** Changes of single sessions. */
export interface ChangeStore {
  /** Refused as another `revision` when `from` is not the current secret any more. */
  rotate(of: ChangeOf, secrets: { from: Buffer; to: Buffer }): Promise<Changed>;
  /** The new secret was seen: the old one has 30 s left. */
  confirm(of: ChangeOf): Promise<Changed>;
  stepUp(of: ChangeOf, raise: Raise): Promise<Changed>;
  upgrade(of: ChangeOf, upgrade: Upgrade, options: UpgradeOptions): Promise<Upgraded>;
  rewrite(of: ChangeOf, rewrite: Rewrite): Promise<Changed>;
  log(id: SessionId, type: string, actor: Actor, detail: object): Promise<void>;
}

/** Which of a user's sessions an end is about. */
export interface UserSessions {
  readonly tenant: string;
  readonly userId: string;
  /** The one that stays. */
  readonly except?: SessionId;
}

/** One page of a user's sessions, newest first. */
export interface ListQuery {
  readonly tenant: string;
  readonly userId: string;
  readonly state: 'live' | 'ended' | 'all';
  readonly limit: number;
  /** The last session of the page before. */
  readonly after?: { readonly createdAt: number; readonly id: SessionId };
}

/** The truth. Rejects with `DATABASE_UNAVAILABLE` or `OVERLOADED` when it cannot be asked. */
export interface SessionStore {
  create(session: SessionDraft, options: SessionCreateOptions): Promise<SessionCreateResult>;
  find(id: SessionId): Promise<SessionRecord | undefined>;
  findMany(ids: readonly SessionId[]): Promise<SessionRecord[]>;
  end(ids: readonly SessionId[], reason: EndReason, actor: Actor): Promise<SessionEndResult>;
  endOfUser(which: UserSessions, reason: EndReason, actor: Actor): Promise<SessionEndResult>;
  /** Ends the impersonations whose actors had these sessions. */
  endOfActors(ids: readonly SessionId[]): Promise<SessionEndResult>;
  list(query: ListQuery): Promise<SessionRecord[]>;
  /** Sessions that ended within the last `ms` milliseconds, newest first, at most `limit`. */
  endedWithin(ms: number, limit: number): Promise<(EndedSession & { readonly why: string })[]>;
  /** Updates and raises within the last `ms` milliseconds, at most `limit`. */
  changedWithin(ms: number, limit: number): Promise<{ id: SessionId; rev: number; why: string }[]>;
}

/** A user's own rules; null where the defaults apply. */
export interface UserRules {
  readonly maxSessions: number | null;
  readonly atLimit: LimitRule | null;
  readonly disabled: boolean;
}

/** A change of them; undefined stays as it is. */
export interface UserRulesPatch {
  readonly maxSessions: number | null | undefined;
  readonly atLimit: LimitRule | null | undefined;
  readonly disabled: boolean | undefined;
  /** Why, in the words of the caller; for the log book. */
  readonly reason: string | undefined;
}

/** Which sessions of a tenant are meant; times in ms since the epoch. */
export interface SearchFilter {
  readonly tenant: string;
  readonly state: 'live' | 'ended' | 'all';
  readonly userId?: string | undefined;
  /** A network. */
  readonly ip?: string | undefined;
  /** Spellings of a single address. */
  readonly addresses?: readonly string[] | undefined;
  readonly deviceId?: string | undefined;
  readonly client?: string | undefined;
  /** Text that the label or the user agent contains. */
  readonly q?: string | undefined;
  readonly createdFrom?: number | undefined;
  readonly createdTo?: number | undefined;
  readonly seenBefore?: number | undefined;
  readonly idp?: string | undefined;
  readonly idpSid?: string | undefined;
  readonly idpSub?: string | undefined;
}

/** One page of a search, newest first. */
export interface SearchQuery extends SearchFilter {
  readonly limit: number;
  readonly after?: { readonly createdAt: number; readonly id: SessionId } | undefined;
}

/** Where a reader of the feed is. */
export interface EventPosition {
  readonly xid: string;
  readonly id: string;
}

/** An entry of the log book. */
export interface SessionEvent {
  readonly position: EventPosition;
  /** Ms since the epoch. */
  readonly at: number;
  readonly tenant: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly type: string;
  readonly actor: string | null;
  readonly ip: string | null;
  readonly requestId: string | null;
  /** Who acted as the user, where the session is impersonated. */
  readonly impersonator: string | null;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** What operators and back ends ask beyond single sessions. */
export interface AdminStore {
  search(query: SearchQuery): Promise<SessionRecord[]>;
  findUnended(filter: SearchFilter, limit: number): Promise<SessionId[]>;
  /** Ends all sessions of a user who is disabled by it, under the same lock. */
  putRules(
    which: UserSessions,
    rules: UserRulesPatch,
    actor: Actor,
  ): Promise<{ rules: UserRules; ended: SessionEndResult }>;
  feed(query: {
    after: EventPosition;
    tenant: string | null;
    types: readonly string[] | undefined;
    limit: number;
  }): Promise<SessionEvent[]>;
  eventsOfUser(query: {
    tenant: string;
    userId: string;
    before: string | undefined;
    limit: number;
  }): Promise<SessionEvent[]>;
  eventsOfSession(query: {
    sessionId: string;
    before: string | undefined;
    limit: number;
  }): Promise<SessionEvent[]>;
  sessionsOfUser(tenant: string, userId: string): Promise<SessionRecord[]>;
  /** Ends, deletes and pseudonymises in one transaction. */
  erase(
    which: UserSessions,
    actor: Actor,
  ): Promise<{ ended: SessionEndResult; sessions: number; events: number }>;
}

/** The outbox table. */
export interface OutboxStore {
  /** Undelivered changes older than `ageMs` behind the row `after`, oldest first. */
  pending(ageMs: number, limit: number, after: string): Promise<OutboxEntry[]>;
  remove(ids: readonly string[]): Promise<void>;
}

/** The part of the snapshot cache that the core uses; every call may reject, and then Postgres answers. */
export type Snapshots = Pick<SnapshotStore, 'read' | 'put' | 'refresh' | 'tomb' | 'putUnknown'>;
