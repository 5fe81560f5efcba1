import { Client } from 'pg';

/** Brings an empty database up to date, and leaves no connection to it open. */
export type Migrate = (databaseUrl: string) => Promise<unknown>;

/** The name of this run's migrated template database. Whoever needs it first makes it; others wait. */
export const migratedTemplate = (adminUrl: string, run: string, migrate: Migrate): Promise<string> =>
  withClient(adminUrl, async (client) => {
    const name = templateName(run);
    await client.query('select pg_advisory_lock(hashtext($1))', [name]);
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (found.rowCount === 1) return name;
    // Under its final name only when it is whole: a failed migration is tried, and reported, again.
    const unfinished = `${name}_unfinished`;
    await client.query(`drop database if exists ${unfinished} with (force)`);
    await client.query(`create database ${unfinished} template template0`);
    await migrate(inDatabase(adminUrl, unfinished));
    await client.query(`alter database ${unfinished} rename to ${name}`);
    return name;
  });

/** Forgets the template of a run. */
export const dropTemplate = (adminUrl: string, run: string): Promise<void> =>
  withClient(adminUrl, async (client) => {
    await client.query(`drop database if exists ${templateName(run)} with (force)`);
  });

const templateName = (run: string): string => `muster_template_${run}`;

/** The URL of another database on the same server. */
export const inDatabase = (url: string, name: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
};

/** A connection for one piece of work. */
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
