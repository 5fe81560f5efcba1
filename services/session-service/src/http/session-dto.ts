import type { SessionAbout, Snapshot } from '@muster/session/session-snapshot';
import { idleExpiresAt, type SessionRecord } from '../core/session-record.ts';

interface SessionDtoOptions {
  /** True if the request was made with this session. */
  readonly current: boolean;
  /** False in lists. */
  readonly withData: boolean;
  /** Open sockets in the whole fleet; null or absent when unknown. */
  readonly sockets?: number | null;
}

const UNKNOWN: SessionAbout = {
  client: { kind: 'web', summary: null, userAgent: null, deviceId: null },
  ip: null,
  lastIp: null,
  country: null,
  auth: { time: null, amr: [], idp: null },
  actor: null,
  remember: true,
};

/** A session without secrets and their hashes. */
export const sessionDto = (
  session: SessionRecord | Snapshot,
  { current, withData, sockets = null }: SessionDtoOptions,
): object => {
  const { client, ip, lastIp, country, auth, actor } = session.about ?? UNKNOWN;
  const idleAt = idleExpiresAt(session);
  return {
    id: session.id,
    tenant: session.tenant,
    user_id: session.userId,
    kind: session.kind,
    current,
    online: sockets === null ? null : sockets > 0,
    sockets,
    label: session.label,
    client: {
      kind: client.kind,
      summary: client.summary,
      user_agent: client.userAgent,
      device_id: client.deviceId,
    },
    ip,
    last_ip: lastIp,
    country,
    auth: {
      time: auth.time === null ? null : isoOf(auth.time),
      aal: session.aal,
      amr: auth.amr,
      idp: auth.idp,
    },
    actor,
    created_at: isoOf(session.createdAt),
    last_seen_at: isoOf(session.lastSeenAt),
    idle_expires_at: idleAt === null ? null : isoOf(idleAt),
    expires_at: isoOf(session.expiresAt),
    ended_at: 'endedAt' in session && session.endedAt !== null ? isoOf(session.endedAt) : null,
    end_reason: 'endReason' in session ? session.endReason : null,
    ...(withData ? { data: session.data ?? {} } : {}),
    grants: session.grants ?? [],
    rev: session.rev,
  };
};

/** The entity tag of a revision. */
export const etagOf = (session: { rev: number }): string => `"${session.rev}"`;

/** An instant in ISO 8601. */
export const isoOf = (ms: number): string => new Date(ms).toISOString();
