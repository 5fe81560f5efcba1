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
import { commandOf } from './process-identity.ts';
import type { ServerSpec } from './server-process.ts';

/** What another user may reach, when the place that was asked for is closed to it. */
const FALLBACK_DIRECTORY = '/var/lib/muster';
const SUPERUSER = 'muster';
/** Lies inside the cluster's own directory, so that data and password are never parted. */
const PASSWORD_FILE = 'muster.password';
const CONNECT_TIMEOUT_MS = 1_000;

/** A cluster of ours. */
export interface PostgresOptions {
  readonly name?: string;
  readonly port: number;
  /** The cluster's directory; made and initialised when missing. */
  readonly dataDir: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
  /** Settings beyond ours, such as `{ fsync: 'off' }` for tests. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A server, and how to reach its databases. */
export interface PostgresServer {
  readonly spec: ServerSpec;
  /** The URL of a database of this cluster. */
  url(database: string): string;
}

/**
 * A Postgres cluster on loopback from the binaries of the npm package, ready to be started.
 * Works as root too, then as the system user `postgres`. Throws {@link PostgresSetupError}.
 */
export const postgresServer = (options: PostgresOptions): PostgresServer => {
  const { say, port } = options;
  const account = postgresAccount(say);
  const programs = accessiblePrograms(packagedPrograms(), account, { shelter: FALLBACK_DIRECTORY, say });
  const dataDir = openDataDir(resolve(options.dataDir), account, say);
  if (!existsSync(join(dataDir, 'PG_VERSION'))) initialise(programs.initdb, dataDir, account, options.env);
  assertSameVersion(programs.postgres, dataDir);
  const password = readFileSync(join(dataDir, PASSWORD_FILE), 'utf8').trim();
  const url = (database: string) => `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
  return {
    url,
    spec: {
      child: {
        name: options.name ?? 'postgres',
        command: programs.postgres,
        args: ['-D', dataDir, '-p', String(port), ...settingArguments(options.settings ?? {})],
        env: options.env,
        logFile: options.logFile,
        cwd: '/',
        ...account,
      },
      prepare: () => removeStaleLock(dataDir, say),
      isReady: () => answersQueries(url('postgres')),
      // "Fast shutdown": ends the connections, writes a checkpoint, leaves nothing to recover.
      stopSignal: 'SIGINT',
      stopDeadlineMs: 10_000,
    },
  };
};

const settingArguments = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries({
    listen_addresses: '127.0.0.1',
    // No socket file: its path would have a length limit and a second set of permissions.
    unix_socket_directories: '',
    max_connections: '300',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...settings,
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

const openDataDir = (wanted: string, account: PostgresAccount, say: (line: string) => void): string => {
  const sheltered = join(FALLBACK_DIRECTORY, directoryKey(wanted));
  if (isLinkTo(wanted, sheltered) && existsSync(sheltered)) return sheltered;
  if (makePrivateDirectory(wanted, account)) return wanted;
  // A closed parent directory, such as root's home, keeps the other user out.
  removePostgresData(wanted);
  if (!makePrivateDirectory(sheltered, account)) {
    throw new PostgresSetupError(
      `Postgres can work neither in ${wanted} nor in ${sheltered}; choose another place.`,
    );
  }
  say(`Postgres keeps its data in ${sheltered}, because its user cannot enter ${wanted}`);
  symlinkSync(sheltered, wanted);
  return sheltered;
};

const isLinkTo = (path: string, target: string): boolean => {
  try {
    return readlinkSync(path) === target;
  } catch {
    return false;
  }
};

/** Removes a cluster, wherever it really lies. */
export const removePostgresData = (dataDir: string): void => {
  const wanted = resolve(dataDir);
  rmSync(wanted, { recursive: true, force: true });
  rmSync(join(FALLBACK_DIRECTORY, directoryKey(wanted)), { recursive: true, force: true });
};

const initialise = (
  initdb: string,
  dataDir: string,
  account: PostgresAccount,
  env: NodeJS.ProcessEnv,
): void => {
  // Made beside its place and moved there when whole: an interrupted attempt is never taken for a cluster.
  const unfinished = `${dataDir}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  makePrivateDirectory(unfinished, account);
  const password = randomBytes(18).toString('base64url');
  const passwordFile = `${dataDir}.password`;
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    if (account.uid !== undefined && account.gid !== undefined)
      chownSync(passwordFile, account.uid, account.gid);
    const done = spawnSync(
      initdb,
      [
        ...['-D', unfinished, '-U', SUPERUSER, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
        // The built-in provider sorts the same on every machine, whatever locales it has.
        ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
        ...['--no-sync', '--no-instructions'],
      ],
      { ...account, cwd: '/', env: { ...env, LC_ALL: 'C' }, encoding: 'utf8' },
    );
    if (done.status !== 0) {
      throw new PostgresSetupError(
        `initdb failed in ${dataDir}:\n${done.stderr || done.error?.message || ''}`,
      );
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
    `${dataDir} was written by Postgres ${theirs}, and this is Postgres ${ours}: start with --fresh, or use the older one.`,
  );
};

/**
 * Postgres will not start while the process named in its lock file lives. After a crash that number may
 * belong to anybody, most easily in a container where numbers start from 1 again.
 */
const removeStaleLock = (dataDir: string, say: (line: string) => void): void => {
  const lock = join(dataDir, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0]);
  const command = Number.isInteger(pid) && pid > 0 ? commandOf(pid) : undefined;
  if (command?.includes(dataDir)) return;
  if (command !== undefined) say(`removing the lock file that a crash left in ${dataDir}`);
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

/** Makes a database when the cluster does not have it yet. `adminUrl` is the URL of any other database there. */
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
