import type { SessionGrant } from '@muster/session/grants';
import type { SnapshotStore } from '@muster/session/session-snapshot';
import type { SessionId } from '@muster/session/token';
import type { Position } from './cursor.ts';
import type { SessionLimit } from './session-limit.ts';
import type { EndReason, LimitRule, SessionDraft, SessionRecord } from './session-record.ts';

/** A committed change that is delivered to Redis and the bus. */
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

/** A session that has ended; `tenant` is absent in changes of earlier versions. */
export interface EndedSession {
  readonly id: SessionId;
  readonly rev: number;
  readonly tenant?: string;
}

/** A change and its row in the outbox; the row is deleted after delivery. */
export interface OutboxEntry {
  readonly outboxId: string;
  readonly change: Change;
}

/** The author of a change, for the audit log. */
export interface Actor {
  /** `user`, `guest`, `key:<id>`, `idp:<name>`, `legacy`, `system`. */
  readonly name: string;
  readonly ip: string | null;
  /** The `X-Request-Id` of the request; null for jobs of the service. */
  readonly requestId: string | null;
}

/** Jobs of the service, such as the sweeper. */
export const SYSTEM: Actor = { name: 'system', ip: null, requestId: null };

/** The sessions that were ended. */
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
      /** Live sessions of the user, including this session; 1 for a guest. */
      readonly devices: number;
    }
  | LoginRefusal
  | Replay;

/** A login that the rules of the user refuse. */
export type LoginRefusal =
  | { readonly ok: false; readonly why: 'disabled' }
  /** `sessions`: the newest live sessions, at most 20. */
  | { readonly ok: false; readonly why: 'limit'; readonly sessions: readonly SessionRecord[] };

/** The result of an earlier request with the same idempotency key. */
export type Replay =
  | { readonly ok: false; readonly why: 'replayed'; readonly session: SessionRecord | undefined }
  /** The key belongs to another request. */
  | { readonly ok: false; readonly why: 'key_reused' };

/** The idempotency key of a request; valid for 24 hours, per tenant and caller. */
export interface Idempotency {
  readonly caller: string;
  readonly key: string;
  /** SHA-256 of the request. */
  readonly requestHash: Buffer;
}

/** The conditions under which a session is created. */
export interface SessionCreateOptions {
  readonly limit: SessionLimit;
  readonly actor: Actor;
  readonly idempotency?: Idempotency | undefined;
}

/** The result of a change of one session. */
export type Changed =
  | { readonly ok: true; readonly session: SessionRecord; readonly posted: OutboxEntry | undefined }
  | { readonly ok: false; readonly why: 'missing' }
  | { readonly ok: false; readonly why: 'ended' | 'revision'; readonly session: SessionRecord };

/** The session, the expected revision and the author of a change. */
export interface ChangeOf {
  readonly id: SessionId;
  /** The expected revision; undefined accepts any. */
  readonly rev: number | undefined;
  readonly actor: Actor;
}

/** A raise of privileges; the previous secret is invalid at commit. */
export interface Raise {
  readonly secretHash: Buffer;
  readonly aal: number;
  readonly amr: readonly string[];
  /** Ms since the epoch; undefined: now. */
  readonly authTime: number | undefined;
}

/** The login that gives a guest's session to a user. */
export interface Upgrade
  extends Raise,
    Pick<SessionDraft, 'policy' | 'idleSeconds' | 'maxSeconds'>,
    Pick<SessionDraft['auth'], 'idp' | 'idpSid' | 'idpSub'> {
  readonly userId: string;
}

/** The result of an upgrade. It is also a login: the session limit applies. */
export type Upgraded =
  | (Extract<Changed, { ok: true }> & { readonly evicted: SessionEndResult })
  | Extract<Changed, { ok: false }>
  | LoginRefusal
  | Replay;

/** The conditions of an upgrade. */
export type UpgradeOptions = Omit<SessionCreateOptions, 'actor'>;

/** New values of a session; undefined members stay as they are. */
export interface Rewrite {
  readonly label: string | null | undefined;
  readonly data: Readonly<Record<string, unknown>> | undefined;
  readonly grants: readonly SessionGrant[] | undefined;
  /** The reason that the caller gave, for the audit log. */
  readonly reason?: string | undefined;
}

/** Statements that change one session. */
export interface ChangeStore {
  /** Refused as `revision` when `from` is not the current secret. */
  rotate(of: ChangeOf, secrets: { from: Buffer; to: Buffer }): Promise<Changed>;
  /** The new secret was used: the previous one is valid for 30 s more. */
  confirm(of: ChangeOf): Promise<Changed>;
  stepUp(of: ChangeOf, raise: Raise): Promise<Changed>;
  upgrade(of: ChangeOf, upgrade: Upgrade, options: UpgradeOptions): Promise<Upgraded>;
  rewrite(of: ChangeOf, rewrite: Rewrite): Promise<Changed>;
  log(id: SessionId, type: string, actor: Actor, detail: object): Promise<void>;
}

/** The sessions of a user, with one exception. */
export interface UserSessions {
  readonly tenant: string;
  readonly userId: string;
  /** The session to keep. */
  readonly except?: SessionId;
}

/** One page of a user's sessions, newest first. */
export interface ListQuery {
  readonly tenant: string;
  readonly userId: string;
  readonly state: 'live' | 'ended' | 'all';
  readonly limit: number;
  /** The last session of the previous page. */
  readonly after?: Position | undefined;
}

/** Statements on sessions. Every call rejects with `DATABASE_UNAVAILABLE` or `OVERLOADED` when Postgres is unavailable. */
export interface SessionStore {
  create(session: SessionDraft, options: SessionCreateOptions): Promise<SessionCreateResult>;
  find(id: SessionId): Promise<SessionRecord | undefined>;
  findMany(ids: readonly SessionId[]): Promise<SessionRecord[]>;
  end(ids: readonly SessionId[], reason: EndReason, actor: Actor): Promise<SessionEndResult>;
  endOfUser(user: UserSessions, reason: EndReason, actor: Actor): Promise<SessionEndResult>;
  /** Ends the impersonations that depend on these sessions of actors. */
  endOfActors(ids: readonly SessionId[]): Promise<SessionEndResult>;
  list(query: ListQuery): Promise<SessionRecord[]>;
  /** Sessions that ended within the last `ms` milliseconds, newest first, at most `limit`. */
  endedWithin(ms: number, limit: number): Promise<(EndedSession & { readonly why: string })[]>;
  /** Updates and raises within the last `ms` milliseconds, at most `limit`. */
  changedWithin(ms: number, limit: number): Promise<{ id: SessionId; rev: number; why: string }[]>;
}

/** The rules of a user; null members have defaults. */
export interface UserRules {
  readonly maxSessions: number | null;
  readonly atLimit: LimitRule | null;
  readonly disabled: boolean;
}

/** A change of a user's rules; undefined members stay as they are. */
export type UserRulesPatch = { readonly [Rule in keyof UserRules]: UserRules[Rule] | undefined } & {
  /** The reason that the caller gave, for the audit log. */
  readonly reason: string | undefined;
};

/** A filter of the sessions of a tenant; times in ms since the epoch. */
export interface SearchFilter {
  readonly tenant: string;
  readonly state: 'live' | 'ended' | 'all';
  readonly userId?: string | undefined;
  /** A network. */
  readonly ip?: string | undefined;
  /** Stored forms of a single address. */
  readonly addresses?: readonly string[] | undefined;
  readonly deviceId?: string | undefined;
  readonly client?: string | undefined;
  /** Substring of the label or the user agent. */
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
  readonly after?: Position | undefined;
}

/** The position of a reader in the event feed. */
export interface EventPosition {
  readonly xid: string;
  readonly id: string;
}

/** An event of the audit log. */
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
  /** The actor, if the session is impersonated. */
  readonly impersonator: string | null;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Statements on many sessions, on users and on the audit log. */
export interface AdminStore {
  search(query: SearchQuery): Promise<SessionRecord[]>;
  findUnended(filter: SearchFilter, limit: number): Promise<SessionId[]>;
  /** Changes the rules of a user; if it disables the user, it ends all sessions under the same lock. */
  putRules(
    user: UserSessions,
    patch: UserRulesPatch,
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
  eventsOfSession(query: { sessionId: string; before: string | undefined; limit: number }): Promise<SessionEvent[]>;
  sessionsOfUser(tenant: string, userId: string): Promise<SessionRecord[]>;
  /** Ends and deletes all sessions and anonymizes the audit log, in one transaction. */
  erase(user: UserSessions, actor: Actor): Promise<{ ended: SessionEndResult; sessions: number; events: number }>;
}

/** The outbox table. */
export interface OutboxStore {
  /** Undelivered changes older than `ageMs` after the row `after`, oldest first. */
  pending(ageMs: number, limit: number, after: string): Promise<OutboxEntry[]>;
  remove(ids: readonly string[]): Promise<void>;
}

/** The snapshot cache; every call may reject, and Postgres is used instead. */
export type Snapshots = Pick<SnapshotStore, 'read' | 'put' | 'refresh' | 'tomb' | 'putUnknown'>;
