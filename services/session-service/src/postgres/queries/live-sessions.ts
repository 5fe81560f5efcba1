import type { SessionId } from '@muster/session/token';
import type { Queryable } from '../pool.ts';
import { IS_LIVE } from '../rows.ts';

/** What the limit needs to know of a live session. Times in ms since the epoch. */
export interface LiveSession {
  readonly id: SessionId;
  readonly deviceId: string | null;
  readonly createdAt: number;
  readonly lastSeenAt: number;
}

const LIVE = `SELECT id, device_id, created_at, last_seen_at FROM sessions
  WHERE tenant_id = $1 AND user_id = $2 AND actor_id IS NULL AND ${IS_LIVE} ORDER BY created_at, id`;

/** A user's own live sessions, oldest first; who impersonates the user takes no place. Sessions that expired unswept do not count. */
export const findLiveSessions = async (
  db: Queryable,
  tenant: string,
  userId: string,
): Promise<LiveSession[]> => {
  const rows = await db.query<{
    id: SessionId;
    device_id: string | null;
    created_at: Date;
    last_seen_at: Date;
  }>('find_live_sessions', LIVE, [tenant, userId]);
  return rows.map((row) => ({
    id: row.id,
    deviceId: row.device_id,
    createdAt: row.created_at.getTime(),
    lastSeenAt: row.last_seen_at.getTime(),
  }));
};
