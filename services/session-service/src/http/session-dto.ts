import type { SessionAbout, Snapshot } from '@muster/session/session-snapshot';
import { idleExpiresAt, type SessionRecord } from '../core/session.ts';

interface ViewOptions {
  /** True if the request was made with this session. */
  readonly current: boolean;
  /** Lists show no application data. */
  readonly withData: boolean;
  /** Open sockets in the whole fleet; null or undefined where it is not known. */
  readonly sockets?: number | null;
}

const NOBODY: SessionAbout = {
  client: { kind: 'web', summary: null, userAgent: null, deviceId: null },
  ip: null,
  lastIp: null,
  country: null,
  auth: { time: null, amr: [], idp: null },
  actor: null,
  remember: true,
};

/** A session as the API shows it; secrets and their hashes have no place in it. */
export const sessionDto = (
  session: SessionRecord | Snapshot,
  { current, withData, sockets = null }: ViewOptions,
): object => {
  const { client, ip, lastIp, country, auth, actor } = session.about ?? NOBODY;
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
      time: auth.time === null ? null : iso(auth.time),
      aal: session.aal,
      amr: auth.amr,
      idp: auth.idp,
    },
    actor,
    created_at: iso(session.createdAt),
    last_seen_at: iso(session.lastSeenAt),
    idle_expires_at: idleAt === null ? null : iso(idleAt),
    expires_at: iso(session.expiresAt),
    ended_at: 'endedAt' in session && session.endedAt !== null ? iso(session.endedAt) : null,
    end_reason: 'endReason' in session ? session.endReason : null,
    ...(withData ? { data: session.data ?? {} } : {}),
    grants: session.grants ?? [],
    rev: session.rev,
  };
};

/** The entity tag of a revision. */
export const etagOf = (session: { rev: number }): string => `"${session.rev}"`;

const iso = (ms: number): string => new Date(ms).toISOString();
