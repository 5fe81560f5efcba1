import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { Client } from 'pg';
import {
  accessiblePrograms,
  directoryKey,
  makePrivateDirectory,
  type PostgresAccount,
  PostgresSetupError,
  packagedPrograms,
  postgresAccount,
} from './postgres-account.ts';
import { attempt, commandOf } from './process-identity.ts';
import type { ServerSpec } from './server-process.ts';

/** Directory for data and programs when the account of Postgres cannot enter the configured directory. */
const FALLBACK_DIRECTORY = '/var/lib/muster';
const SUPERUSER = 'muster';
/** Inside the data directory, so that data and password stay together. */
const PASSWORD_FILE = 'muster.password';
const CONNECT_TIMEOUT_MS = 1_000;

/** A Postgres cluster on loopback. */
export interface PostgresOptions {
  readonly name?: string;
  readonly port: number;
  /** Data directory; created and initialised when missing. */
  readonly dataDir: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: (line: string) => void;
  /** Additional settings, such as `{ fsync: 'off' }` for tests. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * A Postgres cluster on loopback from the binaries of the npm package, initialised, and the URLs of its databases. As root
 * it runs as the system user `postgres`. Throws {@link PostgresSetupError}.
 */
export const postgresServer = (options: PostgresOptions) => {
  const { log, port } = options;
  const account = postgresAccount(log);
  const programs = accessiblePrograms(packagedPrograms(), account, { fallback: FALLBACK_DIRECTORY, log });
  const dataDir = openDataDir(resolve(options.dataDir), account, log);
  if (!existsSync(join(dataDir, 'PG_VERSION'))) initialise(programs.initdb, dataDir, account, options.env);
  assertSameVersion(programs.postgres, dataDir);
  const password = readFileSync(join(dataDir, PASSWORD_FILE), 'utf8').trim();
  const url = (database: string) => `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
  const spec: ServerSpec = {
    child: {
      name: options.name ?? 'postgres',
      command: programs.postgres,
      args: ['-D', dataDir, '-p', String(port), ...settingArguments(options.settings ?? {})],
      env: options.env,
      logFile: options.logFile,
      cwd: '/',
      ...account,
    },
    prepare: () => removeStaleLock(dataDir, log),
    isReady: () => answersQueries(url('postgres')),
    // Fast shutdown: closes connections and writes a checkpoint.
    stopSignal: 'SIGINT',
    stopDeadlineMs: 10_000,
  };
  return { spec, url };
};

const settingArguments = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries({
    listen_addresses: '127.0.0.1',
    // No Unix socket: its path has a length limit and permissions of its own.
    unix_socket_directories: '',
    max_connections: '300',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...settings,
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

const openDataDir = (wanted: string, account: PostgresAccount, log: (line: string) => void): string => {
  const fallback = join(FALLBACK_DIRECTORY, directoryKey(wanted));
  if (attempt(() => readlinkSync(wanted)) === fallback && existsSync(fallback)) return fallback;
  if (makePrivateDirectory(wanted, account)) return wanted;
  // The account cannot enter a parent directory, such as the home of root.
  removePostgresData(wanted);
  if (!makePrivateDirectory(fallback, account)) {
    throw new PostgresSetupError(
      `Postgres cannot write to ${wanted} nor to ${fallback}; choose another directory with --data.`,
    );
  }
  log(`Postgres keeps its data in ${fallback}: its user cannot enter ${wanted}`);
  symlinkSync(fallback, wanted);
  return fallback;
};

/** Removes a cluster, also from the fallback directory. */
export const removePostgresData = (dataDir: string): void => {
  const wanted = resolve(dataDir);
  rmSync(wanted, { recursive: true, force: true });
  rmSync(join(FALLBACK_DIRECTORY, directoryKey(wanted)), { recursive: true, force: true });
};

const initialise = (initdb: string, dataDir: string, account: PostgresAccount, env: NodeJS.ProcessEnv): void => {
  // Initialised beside the data directory and renamed when complete: an interrupted attempt is not taken for a cluster.
  const unfinished = `${dataDir}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  makePrivateDirectory(unfinished, account);
  const password = randomBytes(18).toString('base64url');
  const passwordFile = `${dataDir}.password`;
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    if (account !== undefined) chownSync(passwordFile, account.uid, account.gid);
    const done = spawnSync(
      initdb,
      [
        ...['-D', unfinished, '-U', SUPERUSER, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
        // The built-in provider sorts alike on every machine.
        ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
        ...['--no-sync', '--no-instructions'],
      ],
      { ...account, cwd: '/', env: { ...env, LC_ALL: 'C' }, encoding: 'utf8' },
    );
    if (done.status !== 0) {
      throw new PostgresSetupError(`initdb failed in ${dataDir}:\n${done.stderr || done.error?.message || ''}`);
    }
    writeFileSync(join(unfinished, PASSWORD_FILE), `${password}\n`, { mode: 0o600 });
    rmdirSync(dataDir);
    renameSync(unfinished, dataDir);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(unfinished, { recursive: true, force: true });
  }
};

const assertSameVersion = (postgres: string, dataDir: string): void => {
  const theirs = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  const ours = /\d+/.exec(spawnSync(postgres, ['--version'], { encoding: 'utf8' }).stdout)?.[0];
  if (ours === undefined || ours === theirs) return;
  throw new PostgresSetupError(
    `${dataDir} was written by Postgres ${theirs}, this is Postgres ${ours}: start with --fresh, or install Postgres ${theirs}.`,
  );
};

/**
 * Postgres does not start while the process in its lock file exists. After a crash the process id may belong to another
 * process, for example in a container, where process ids start at 1.
 */
const removeStaleLock = (dataDir: string, log: (line: string) => void): void => {
  const lock = join(dataDir, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0]);
  const command = Number.isInteger(pid) && pid > 0 ? commandOf(pid) : undefined;
  if (command?.includes(dataDir)) return;
  if (command !== undefined) log(`removing the stale lock file in ${dataDir}`);
  rmSync(lock, { force: true });
};

const answersQueries = async (url: string): Promise<boolean> => {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
};

/** Creates a database when it is missing. `adminUrl` is the URL of any other database of the server. */
export const ensureDatabase = async (adminUrl: string, name: string): Promise<void> => {
  const client = new Client({ connectionString: adminUrl });
  client.on('error', () => {});
  await client.connect();
  try {
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (found.rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
};
