import { fileURLToPath } from 'node:url';
import type { Logger } from '@muster/kit/logger';
import { runner } from 'node-pg-migrate';

const DIRECTORY = fileURLToPath(new URL('../../migrations', import.meta.url));

const CONNECT_TIMEOUT_MS = 5000;

/**
 * Applies all pending migrations. Replicas that start together are serialized by an advisory lock. Resolves with the
 * names of the applied migrations.
 */
export const migrate = async (databaseUrl: string, log?: Pick<Logger, 'info'>): Promise<string[]> => {
  const run = await runner({
    databaseUrl: { connectionString: databaseUrl, connectionTimeoutMillis: CONNECT_TIMEOUT_MS },
    dir: DIRECTORY,
    direction: 'up',
    migrationsTable: 'session_migrations',
    advisoryLockMode: 'wait',
    checkOrder: true,
    logger: SILENT,
  });
  const names = run.map(({ name }) => name);
  if (names.length > 0) log?.info({ names }, 'database.migrated');
  return names;
};

const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
