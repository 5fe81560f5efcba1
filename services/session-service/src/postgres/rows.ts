import type { SessionAbout } from '@muster/session/session-snapshot';
import type { SessionId } from '@muster/session/token';
import type { Change, OutboxEntry } from '../core/ports.ts';
import type { SessionRecord } from '../core/session-record.ts';

/** The columns of a session that the service reads. */
export const COLUMNS = `id, tenant_id, user_id, kind, policy, transport, remember, secret_hash, prev_hash, prev_until,
  rotated_at, rev, device_id, label, client_kind, client_summary, user_agent, abbrev(created_ip) AS created_ip,
  abbrev(last_ip) AS last_ip, country, auth_time, aal, amr, idp, actor_id, actor_reason, data, grants, created_at,
  last_seen_at, idle_seconds, expires_at, ended_at, end_reason`;

/** True for a row that is neither ended nor past its idle or absolute limit. */
export const IS_LIVE = `ended_at IS NULL AND expires_at > now()
  AND (idle_seconds = 0 OR last_seen_at + make_interval(secs => idle_seconds) >= now())`;

/** A row of {@link COLUMNS} as the driver returns it. */
export interface SessionRow
  extends Pick<SessionRecord, 'kind' | 'policy' | 'transport' | 'rev' | 'aal' | 'label' | 'data' | 'grants'>,
    Pick<SessionAbout, 'remember' | 'country'> {
  readonly id: string;
  readonly tenant_id: string;
  readonly user_id: string | null;
  readonly secret_hash: Buffer;
  readonly prev_hash: Buffer | null;
  readonly prev_until: Date | null;
  readonly rotated_at: Date | null;
  readonly device_id: string | null;
  readonly client_kind: string;
  readonly client_summary: string | null;
  readonly user_agent: string | null;
  readonly created_ip: string | null;
  readonly last_ip: string | null;
  readonly auth_time: Date | null;
  readonly amr: readonly string[];
  readonly idp: string | null;
  readonly actor_id: string | null;
  readonly actor_reason: string | null;
  readonly created_at: Date;
  readonly last_seen_at: Date;
  readonly idle_seconds: number;
  readonly expires_at: Date;
  readonly ended_at: Date | null;
  readonly end_reason: string | null;
}

/** Converts a row. */
export const toRecord = (row: SessionRow): SessionRecord => ({
  id: row.id as SessionId,
  tenant: row.tenant_id,
  userId: row.user_id,
  kind: row.kind,
  policy: row.policy,
  transport: row.transport,
  secretHash: row.secret_hash.toString('base64url'),
  ...(row.prev_hash && row.prev_until
    ? { prevHash: row.prev_hash.toString('base64url'), prevUntil: row.prev_until.getTime() }
    : {}),
  rotatedAt: row.rotated_at?.getTime() ?? null,
  rev: row.rev,
  aal: row.aal,
  label: row.label,
  data: row.data,
  grants: row.grants,
  createdAt: row.created_at.getTime(),
  lastSeenAt: row.last_seen_at.getTime(),
  idleSeconds: row.idle_seconds,
  expiresAt: row.expires_at.getTime(),
  endedAt: row.ended_at?.getTime() ?? null,
  endReason: row.end_reason,
  about: {
    client: {
      kind: row.client_kind,
      summary: row.client_summary,
      userAgent: row.user_agent,
      deviceId: row.device_id,
    },
    ip: row.created_ip,
    lastIp: row.last_ip,
    country: row.country,
    auth: { time: row.auth_time?.getTime() ?? null, amr: row.amr, idp: row.idp },
    actor: row.actor_id === null ? null : { id: row.actor_id, reason: row.actor_reason },
    remember: row.remember,
  },
});

/** A row of the outbox; its payload is a {@link Change}. */
export interface OutboxRow {
  readonly outbox_id: string | null;
  readonly change: Change | null;
}

/** The outbox entry of a statement; undefined when it changed nothing. */
export const toPosted = (row: OutboxRow | undefined): OutboxEntry | undefined =>
  row?.outbox_id && row.change ? { outboxId: row.outbox_id, change: row.change } : undefined;
