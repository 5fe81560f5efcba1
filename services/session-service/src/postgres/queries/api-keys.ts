import type { ApiKey, KeyChange, KeyStore } from '../../core/api-keys.ts';
import type { Queryable } from '../pool.ts';

interface KeyRow extends Omit<ApiKey, 'createdAt' | 'lastUsedAt' | 'revokedAt'> {
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
  readonly revokedAt: Date | null;
}

const COLUMNS = `id, name, scopes, tenant_id AS tenant, groups, created_at AS "createdAt", last_used_at AS "lastUsedAt",
  revoked_at AS "revokedAt"`;
/** Events of a key for all tenants have the tenant `*`, which is not a valid tenant name. */
const logged = (type: string, from: string, by: number): string => `logged AS (
    INSERT INTO session_events (tenant_id, type, actor, ip, request_id, detail)
    SELECT coalesce(tenant_id, '*'), '${type}', $${by}, $${by + 1}::inet, $${by + 2}, jsonb_strip_nulls(
      jsonb_build_object('key_id', id, 'name', name, 'scopes', scopes, 'groups', groups, 'reason', $${by + 3}::text)) FROM ${from})`;
const INSERT = `WITH made AS (
    INSERT INTO api_keys (id, name, hash, scopes, tenant_id, groups) VALUES ($1, $2, $3, $4::text[], $5, $6::text[])
    ON CONFLICT (hash) DO NOTHING RETURNING *
  ), ${logged('api_key.created', 'made', 7)} SELECT ${COLUMNS} FROM made`;
const FIND = `SELECT hash, ${COLUMNS} FROM api_keys WHERE hash = ANY($1::bytea[])`;
const LIST = `SELECT ${COLUMNS} FROM api_keys WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY created_at DESC LIMIT 1000`;
const REVOKE = `WITH revoked AS (
    UPDATE api_keys SET revoked_at = now()
    WHERE id = $1 AND revoked_at IS NULL AND ($2::text IS NULL OR tenant_id = $2) RETURNING *
  ), ${logged('api_key.revoked', 'revoked', 3)} SELECT id FROM revoked`;
const USED = `UPDATE api_keys SET last_used_at = now()
  WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`;

/** Statements on API keys; only their hashes are stored. */
export const apiKeyQueries = (db: Queryable): KeyStore => ({
  insert: async ({ id, name, scopes, tenant, groups }, hash, by) => {
    const key = [id, name, hash, scopes, tenant, groups];
    const [row] = await db.write<KeyRow>('insert_api_key', INSERT, [...key, ...valuesOf(by)]);
    return row && toKey(row);
  },
  findByHashes: async (hashes) => {
    const rows = await db.query<KeyRow & { readonly hash: Buffer }>('find_api_keys', FIND, [hashes]);
    return rows.map(({ hash, ...row }) => ({ hash, key: toKey(row) }));
  },
  list: async (tenant) => (await db.query<KeyRow>('list_api_keys', LIST, [tenant])).map(toKey),
  revoke: async (id, tenant, by) =>
    (await db.write('revoke_api_key', REVOKE, [id, tenant, ...valuesOf(by)])).length === 1,
  used: async (id) => {
    await db.write('note_api_key', USED, [id]);
  },
});

const valuesOf = ({ actor, reason }: KeyChange): unknown[] => [actor.name, actor.ip, actor.requestId, reason ?? null];

const toKey = ({ createdAt, lastUsedAt, revokedAt, ...key }: KeyRow): ApiKey => ({
  ...key,
  createdAt: createdAt.getTime(),
  lastUsedAt: lastUsedAt?.getTime() ?? null,
  revokedAt: revokedAt?.getTime() ?? null,
});
