import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Where system programs live that a user's PATH often leaves out. */
const SYSTEM_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/opt/homebrew/bin'];
const APT = '/usr/bin/apt-get';
const APT_TIMEOUT_MS = 300_000;
const APT_RETRY_MS = 2_000;
const APT_LOCKED = /could not get lock|unable to (?:acquire|lock)/i;

/** A program on this machine, and the name by which it wants to be called. */
export interface Program {
  readonly path: string;
  readonly argv0?: string | undefined;
}

/** A program that we need is not there. The message lists the ways out, one a line. */
export class MissingProgramError extends Error {
  override readonly name = 'MissingProgramError';
}

/** The environment that finding and installing needs, and how to tell people about it. */
export interface FindOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
}

/** The path of the first of these programs on `PATH` or in the usual places. */
export const findProgram = (names: readonly string[], path: string): string | undefined =>
  names
    .flatMap((name) =>
      [...path.split(delimiter), ...SYSTEM_DIRECTORIES].map((directory) => join(directory, name)),
    )
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
 * What `find` finds; when that is nothing, what it finds after the Debian package was installed, which root may do on
 * a system of the Debian family. Undefined when there is nothing still.
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

/** Installs a Debian package, and says so. Answers false when that did not work. */
const installPackage = async (name: string, { env, say }: FindOptions): Promise<boolean> => {
  say(`installing the Debian package ${name} with apt-get`);
  const install = () =>
    execute(APT, ['install', '-y', '--no-install-recommends', name], {
      env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: APT_TIMEOUT_MS,
    });
  try {
    // A machine that never asked for the package lists has none, and then finds nothing.
    await retryWhileLocked(install).catch(async () => {
      await retryWhileLocked(() => execute(APT, ['update'], { env, timeout: APT_TIMEOUT_MS }));
      await retryWhileLocked(install);
    });
    return true;
  } catch (error) {
    say(`apt-get could not install ${name}: ${(error as Error).message.split('\n')[0]}`);
    return false;
  }
};

/** Only one process may use apt at a time; another test file may be installing what it needs. */
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
