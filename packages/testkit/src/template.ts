import { Client } from 'pg';

/** Migrates an empty database, and leaves no connection open. */
export type Migrate = (databaseUrl: string) => Promise<unknown>;

/** Name of the migrated template database of a run. The first caller creates it; others wait. */
export const migratedTemplate = (adminUrl: string, run: string, migrate: Migrate): Promise<string> =>
  withClient(adminUrl, async (client) => {
    const name = templateName(run);
    await client.query('select pg_advisory_lock(hashtext($1))', [name]);
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (found.rowCount === 1) return name;
    // Renamed when complete: a failed migration is retried and reported again.
    const unfinished = `${name}_unfinished`;
    await client.query(`drop database if exists ${unfinished} with (force)`);
    await client.query(`create database ${unfinished} template template0`);
    await migrate(inDatabase(adminUrl, unfinished));
    await client.query(`alter database ${unfinished} rename to ${name}`);
    return name;
  });

export const dropTemplate = (adminUrl: string, run: string): Promise<void> =>
  withClient(adminUrl, async (client) => {
    await client.query(`drop database if exists ${templateName(run)} with (force)`);
  });

const templateName = (run: string): string => `muster_template_${run}`;

/** URL of another database of the same server. */
export const inDatabase = (url: string, name: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
};

/** Runs `use` with a connection, and closes it. */
export const withClient = async <T>(url: string, use: (client: Client) => Promise<T>): Promise<T> => {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
};
