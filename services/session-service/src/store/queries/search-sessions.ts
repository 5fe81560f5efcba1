import type { Queries } from '@muster/kit/postgres';
import type { SessionId } from '@muster/session/token';
import type { SearchFilter, SearchQuery } from '../../core/ports.ts';
import type { SessionRecord } from '../../core/session.ts';
import { COLUMNS, IS_LIVE, type SessionRow, toRecord } from '../rows.ts';

/** One text for all filters: what is not asked for is NULL. Text is compared literally, never as a pattern. */
const FILTERS = `tenant_id = $1 AND ($2::text IS NULL OR user_id = $2)
  AND ($3::text = 'all' OR ($3 = 'live' AND ${IS_LIVE}) OR ($3 = 'ended' AND ended_at IS NOT NULL))
  AND ($4::inet IS NULL OR created_ip && $4 OR last_ip && $4)
  AND ($5::text IS NULL OR device_id = $5) AND ($6::text IS NULL OR client_kind = $6)
  AND ($7::text IS NULL OR strpos(lower(concat_ws(' ', label, user_agent)), lower($7)) > 0)
  AND ($8::float8 IS NULL OR created_at >= to_timestamp($8 / 1000))
  AND ($9::float8 IS NULL OR created_at < to_timestamp($9 / 1000))
  AND ($10::float8 IS NULL OR last_seen_at < to_timestamp($10 / 1000))
  AND ($11::text IS NULL OR idp_sid = $11) AND ($12::text IS NULL OR idp_sub = $12) AND ($13::text IS NULL OR idp = $13)`;

const SEARCH = `SELECT ${COLUMNS} FROM sessions WHERE ${FILTERS}
  AND ($14::float8 IS NULL OR (created_at, id) < (to_timestamp($14::float8 / 1000), $15::uuid))
  ORDER BY created_at DESC, id DESC LIMIT $16`;
const LIVE_IDS = `SELECT id FROM sessions WHERE ${FILTERS} AND ended_at IS NULL ORDER BY id LIMIT $14`;

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
];

/** One page of the sessions that fit, newest first. */
export const searchSessions = async (db: Queries, query: SearchQuery): Promise<SessionRecord[]> => {
  const rows = await db.query<SessionRow>('search_sessions', SEARCH, [
    ...valuesOf(query),
    query.after?.createdAt ?? null,
    query.after?.id ?? null,
    query.limit,
  ]);
  return rows.map(toRecord);
};

/** Sessions that fit and have not been ended. */
export const findUnended = async (db: Queries, filter: SearchFilter, limit: number): Promise<SessionId[]> => {
  const rows = await db.query<{ id: SessionId }>('find_unended_sessions', LIVE_IDS, [
    ...valuesOf(filter),
    limit,
  ]);
  return rows.map(({ id }) => id);
};
