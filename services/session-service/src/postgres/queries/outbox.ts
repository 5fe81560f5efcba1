import type { OutboxStore } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';
import { type OutboxRow, toPosted } from '../rows.ts';

const PENDING = `SELECT id AS outbox_id, payload AS change FROM outbox
  WHERE created_at <= now() - make_interval(secs => $1::float8 / 1000) AND id > $3::bigint ORDER BY id LIMIT $2`;
const REMOVE = 'DELETE FROM outbox WHERE id = ANY($1::bigint[])';

/** Statements on the outbox. Several replicas may read the same rows, because deliveries are idempotent. */
export const outboxQueries = (db: Queryable): OutboxStore => ({
  pending: async (ageMs, limit, after) => {
    const rows = await db.query<OutboxRow>('outbox_pending', PENDING, [ageMs, limit, after]);
    return rows.map(toPosted).filter((entry) => entry !== undefined);
  },
  remove: async (ids) => {
    await db.query('outbox_remove', REMOVE, [ids]);
  },
});
