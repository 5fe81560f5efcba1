import type { SessionId } from '@muster/session/token';
import type { AdminStore, SearchFilter, SearchQuery } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, IS_LIVE, type SessionRow, toRecord } from '../rows.ts';

/** One condition for all filters; absent filters are NULL. Text is compared literally, never as a pattern. */
const FILTERS = `tenant_id = $1 AND ($2::text IS NULL OR user_id = $2)
  AND ($3::text = 'all' OR ($3 = 'live' AND ${IS_LIVE}) OR ($3 = 'ended' AND ended_at IS NOT NULL))
  AND ($4::inet IS NULL OR created_ip && $4 OR last_ip && $4)
  AND ($5::text IS NULL OR device_id = $5) AND ($6::text IS NULL OR client_kind = $6)
  AND ($7::text IS NULL OR strpos(lower(concat_ws(' ', label, user_agent)), lower($7)) > 0)
  AND ($8::float8 IS NULL OR created_at >= to_timestamp($8 / 1000))
  AND ($9::float8 IS NULL OR created_at < to_timestamp($9 / 1000))
  AND ($10::float8 IS NULL OR last_seen_at < to_timestamp($10 / 1000))
  AND ($11::text IS NULL OR idp_sid = $11) AND ($12::text IS NULL OR idp_sub = $12) AND ($13::text IS NULL OR idp = $13)
  AND ($14::inet[] IS NULL OR created_ip = ANY($14::inet[]) OR last_ip = ANY($14::inet[]))`;

/**
 * A condition that may be NULL cannot use an index. The most selective filter of a search is therefore repeated without
 * the NULL case: each has its own statement and index. In the order of preference.
 */
const LEADING = {
  by_idp_session: 'idp_sid = $11',
  by_device: 'device_id = $5',
  by_user: 'user_id = $2',
  by_idp_subject: 'idp_sub = $12',
  by_ip: '(created_ip = ANY($14::inet[]) OR last_ip = ANY($14::inet[]))',
  by_client: 'client_kind = $6',
  by_time: 'true',
} as const;
type Leading = keyof typeof LEADING;

const leadingOf = (filter: SearchFilter): Leading => {
  if (filter.idpSid !== undefined) return 'by_idp_session';
  if (filter.deviceId !== undefined) return 'by_device';
  if (filter.userId !== undefined) return 'by_user';
  if (filter.idpSub !== undefined) return 'by_idp_subject';
  if (filter.addresses !== undefined) return 'by_ip';
  return filter.client === undefined ? 'by_time' : 'by_client';
};

/** The statement of a search; exported so that a test can examine its plan. */
export const searchStatement = (query: SearchQuery): { name: string; text: string; values: unknown[] } => {
  const leading = leadingOf(query);
  return {
    name: `search_sessions_${leading}`,
    text: `SELECT ${COLUMNS} FROM sessions WHERE ${LEADING[leading]} AND ${FILTERS}
      AND ($15::float8 IS NULL OR (created_at, id) < (to_timestamp($15::float8 / 1000), $16::uuid))
      ORDER BY created_at DESC, id DESC LIMIT $17`,
    values: [...valuesOf(query), query.after?.createdAt ?? null, query.after?.id ?? null, query.limit],
  };
};

const valuesOf = (filter: SearchFilter): unknown[] => [
  filter.tenant,
  filter.userId ?? null,
  filter.state,
  filter.ip ?? null,
  filter.deviceId ?? null,
  filter.client ?? null,
  filter.q ?? null,
  filter.createdFrom ?? null,
  filter.createdTo ?? null,
  filter.seenBefore ?? null,
  filter.idpSid ?? null,
  filter.idpSub ?? null,
  filter.idp ?? null,
  filter.addresses === undefined ? null : `{${filter.addresses.join(',')}}`,
];

/** Statements that find sessions of a tenant by filter. */
export const searchQueries = (db: Queryable): Pick<AdminStore, 'search' | 'findUnended'> => ({
  search: async (query) => {
    const { name, text, values } = searchStatement(query);
    return (await db.query<SessionRow>(name, text, values)).map(toRecord);
  },
  findUnended: async (filter, limit) => {
    const leading = leadingOf(filter);
    const rows = await db.query<{ id: SessionId }>(
      `find_unended_sessions_${leading}`,
      `SELECT id FROM sessions WHERE ${LEADING[leading]} AND ${FILTERS} AND ended_at IS NULL ORDER BY id LIMIT $15`,
      [...valuesOf(filter), limit],
    );
    return rows.map(({ id }) => id);
  },
});
