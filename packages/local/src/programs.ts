import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Directories of system programs that the PATH of a user often omits. */
const SYSTEM_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/opt/homebrew/bin'];
const APT = '/usr/bin/apt-get';
const APT_TIMEOUT_MS = 300_000;
const APT_RETRY_MS = 2_000;
const APT_LOCKED = /could not get lock|unable to (?:acquire|lock)/i;

/** A program of this machine and, for a binary with several names, its `argv[0]`. */
export interface Program {
  readonly path: string;
  readonly argv0?: string | undefined;
}

/** A required program is missing. The message lists the alternatives, one per line. */
export class MissingProgramError extends Error {
  override readonly name = 'MissingProgramError';
}

/** How a program is found, which Debian package provides it, and the lines of the error without it. */
export interface RequiredProgram {
  find(path: string): Program | undefined;
  readonly debianPackage: string;
  readonly missing: readonly string[];
}

/** Environment for the search and the installation, and a log for the user. */
export interface FindOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly log: (line: string) => void;
}

/** Path of the first of these programs on `path` or in the system directories. */
export const findProgram = (names: readonly string[], path: string): string | undefined =>
  names
    .flatMap((name) => [...path.split(delimiter), ...SYSTEM_DIRECTORIES].map((directory) => join(directory, name)))
    .find(isExecutable);

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/**
 * The result of `find`; without a result, and as root on a Debian system, the result after the installation of the
 * Debian package.
 */
export const findOrInstall = async <Found>(
  find: (path: string) => Found | undefined,
  debianPackage: string,
  options: FindOptions,
): Promise<Found | undefined> => {
  const path = options.env['PATH'] ?? '';
  const found = find(path);
  if (found !== undefined || process.getuid?.() !== 0 || !isExecutable(APT)) return found;
  return (await installPackage(debianPackage, options)) ? find(path) : undefined;
};

/**
 * A lookup of the program that `find` locates or the Debian package provides. It rejects with
 * {@link MissingProgramError} and the text `missing`.
 */
export const programFinder =
  ({ find, debianPackage, missing }: RequiredProgram) =>
  async (options: FindOptions): Promise<Program> => {
    const program = await findOrInstall(find, debianPackage, options);
    if (program !== undefined) return program;
    throw new MissingProgramError(missing.join('\n'));
  };

/** A lookup of one executable by its names. */
export const executable =
  (...names: readonly string[]) =>
  (path: string): Program | undefined => {
    const found = findProgram(names, path);
    return found === undefined ? undefined : { path: found };
  };

/** Installs a Debian package and logs it. Resolves with false on failure. */
const installPackage = async (name: string, { env, log }: FindOptions): Promise<boolean> => {
  log(`installing the Debian package ${name} with apt-get`);
  const install = () =>
    execute(APT, ['install', '-y', '--no-install-recommends', name], {
      env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: APT_TIMEOUT_MS,
    });
  try {
    // A machine without package lists finds no package.
    await retryWhileLocked(install).catch(async () => {
      await retryWhileLocked(() => execute(APT, ['update'], { env, timeout: APT_TIMEOUT_MS }));
      await retryWhileLocked(install);
    });
    return true;
  } catch (error) {
    log(`apt-get could not install ${name}: ${(error as Error).message.split('\n')[0]}`);
    return false;
  }
};

/** apt allows one process at a time; another test file may be using it. */
const retryWhileLocked = async (work: () => Promise<unknown>): Promise<void> => {
  const deadline = performance.now() + APT_TIMEOUT_MS;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (!APT_LOCKED.test((error as Error).message) || performance.now() > deadline) throw error;
      await sleep(APT_RETRY_MS);
    }
  }
};
