import { pickSettings, type SettingValues } from '@muster/kit/config';
import { field } from '@muster/kit/config-fields';
import { z } from 'zod';

/** For messages: the form that {@link isPostgresUrl} accepts. */
export const POSTGRES_URL_FORM =
  '`postgres://[user[:password]@]host[:5432]/database`; `?host=/directory` in place of the host for a Unix socket';

const SSL_MODES = new Set(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']);

/**
 * True for a URL that names a server and a database. The driver would fill a missing database with the user's name, and a missing host
 * with this machine: that is refused.
 */
export const isPostgresUrl = (text: string): boolean => {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) return false;
  const { hostname, port, pathname, searchParams, username, password } = new URL(text);
  const host = hostname === '' ? (searchParams.get('host') ?? '') : hostname;
  const sslMode = searchParams.get('sslmode');
  return (
    /^[^,\s]+$/.test(host) &&
    port !== '0' &&
    /^\/[^/]+$/.test(pathname) &&
    [pathname, username, password].every(isEncoded) &&
    (sslMode === null || SSL_MODES.has(sslMode))
  );
};

const isEncoded = (text: string): boolean => {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
};

/** Variables of the database connections. */
export const postgresSettings = {
  DATABASE_URL: z.string().refine(isPostgresUrl, `expected ${POSTGRES_URL_FORM}`).describe(POSTGRES_URL_FORM),
  PG_POOL_SIZE: field.count(10, { min: 1, max: 1_000 }).describe('connections that are kept open'),
  PG_MAX_OVERFLOW: field.count(5, { max: 1_000 }).describe('further connections during a burst, closed when idle'),
  PG_POOL_TIMEOUT_MS: field
    .ms(30_000)
    .describe('longest wait for a connection of the pool; requests give up after 2 s'),
  PG_PREPARED_STATEMENTS: field
    .onOff('on')
    .describe('named prepared statements; `off` behind a pooler without support, such as PgBouncer before 1.21'),
};

/** {@link postgresSettings} without their prefix: `url`, `poolSize`, … */
export type PostgresConfig = ReturnType<typeof postgresConfig>;
export const postgresConfig = (values: SettingValues<typeof postgresSettings>) => ({
  ...pickSettings(values, postgresSettings, 'PG_'),
  url: values.databaseUrl,
});
