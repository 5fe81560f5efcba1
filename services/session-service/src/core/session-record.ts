import type { SessionGrant } from '@muster/session/grants';
import { MAX_SNAPSHOT_DATA_BYTES, type SessionAbout, type Snapshot } from '@muster/session/session-snapshot';
import type { SessionId } from '@muster/session/token';

/** The reasons for which a session ends. */
export const END_REASONS = [
  'logout',
  'revoked',
  'revoked_others',
  'revoked_all',
  'expired',
  'idle',
  'evicted',
  'replaced',
  'reuse_detected',
  'user_disabled',
  'idp_logout',
  'erased',
  'actor_ended',
  'admin',
] as const;
export type EndReason = (typeof END_REASONS)[number];

/** The rules for a login of a user whose sessions are at the limit. */
export const LIMIT_RULES = ['reject', 'evict_oldest', 'evict_idle', 'replace_device'] as const;
export type LimitRule = (typeof LIMIT_RULES)[number];

/** The way in which the client carries its token. */
export type Transport = 'cookie' | 'bearer';

/** A session in Postgres. Times in ms since the epoch. */
export interface SessionRecord extends Omit<Snapshot, 'freshUntil'> {
  readonly data: Readonly<Record<string, unknown>>;
  readonly grants: readonly SessionGrant[];
  readonly about: SessionAbout;
  readonly policy: string;
  readonly transport: Transport;
  readonly rotatedAt: number | null;
  readonly endedAt: number | null;
  readonly endReason: string | null;
}

/** A session to be created; the database sets its instants. */
export interface SessionDraft
  extends Pick<SessionRecord, 'id' | 'tenant' | 'userId' | 'kind' | 'policy' | 'transport' | 'label'>,
    Pick<SessionRecord, 'data' | 'grants' | 'idleSeconds'>,
    Pick<SessionAbout, 'client' | 'country' | 'actor' | 'remember'> {
  readonly secretHash: Buffer;
  /** Already anonymized. */
  readonly ip: string | null;
  readonly auth: {
    /** Undefined: now. */
    readonly time: number | undefined;
    readonly aal: number;
    readonly amr: readonly string[];
    readonly idp: string | null;
    readonly idpSid: string | null;
    readonly idpSub: string | null;
  };
  /** The session of the actor, whose end also ends this session. */
  readonly actorSession?: SessionId | undefined;
  readonly maxSeconds: number;
}

const FRESH_MS = 10 * 60_000;

/** The cached form of a session: fresh for ten minutes, or a third of the idle limit if that is less. */
export const toSnapshot = (record: SessionRecord, now: number): Snapshot => {
  const { policy, transport, rotatedAt, endedAt, endReason, data, grants, prevHash, prevUntil, ...rest } = record;
  const fresh = record.idleSeconds > 0 ? Math.min(FRESH_MS, (record.idleSeconds * 1000) / 3) : FRESH_MS;
  return {
    ...rest,
    ...(prevHash === undefined || prevUntil === undefined ? {} : { prevHash, prevUntil }),
    ...(Buffer.byteLength(JSON.stringify(data)) > MAX_SNAPSHOT_DATA_BYTES ? {} : { data }),
    ...(grants.length === 0 ? {} : { grants }),
    freshUntil: Math.trunc(now + fresh),
  };
};

/** The instant at which the session becomes idle, in ms since the epoch; null without an idle limit. */
export const idleExpiresAt = (session: Pick<Snapshot, 'idleSeconds' | 'lastSeenAt' | 'expiresAt'>): number | null =>
  session.idleSeconds > 0 ? Math.min(session.lastSeenAt + session.idleSeconds * 1000, session.expiresAt) : null;
