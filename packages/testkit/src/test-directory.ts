import { readdirSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DirectoryLock, lockDirectory } from '@muster/local/directory-lock';
import { removePostgresData } from '@muster/local/postgres';
import { type ServerSpec, startServer } from '@muster/local/server-process';

const OWN_PREFIX = 'muster-test-';
const OWNER_FILE = 'owner.json';
/** Directories that test runs make, as `mkdtemp` names them: ours, and those of whole fleets under test. */
const TEST_DIRECTORY_NAME = /^muster-(test|launcher|fleet|bench)-\w{6}$/;
const OWNER_FILES = [OWNER_FILE, 'launcher.json'];

/** A directory of a test run and the processes that work in it. Disposing it removes it. */
export interface TestDirectory extends AsyncDisposable {
  readonly path: string;
  /** Starts a server that the next run will end, should this one be killed before it can. */
  start(spec: ServerSpec): ReturnType<typeof startServer>;
}

/** A new directory below the system's temporary one. Other users may enter: Postgres runs as one, when we are root. */
export const openTestDirectory = async (): Promise<TestDirectory> => {
  const path = await mkdtemp(join(tmpdir(), OWN_PREFIX));
  await chmod(path, 0o755);
  const claimed = await lockOrThrow(path);
  return {
    path,
    start: (spec) =>
      startServer(spec, {
        onSpawn: ({ name, pid }) => claimed.add({ name, pid, stopSignal: spec.stopSignal }),
      }),
    async [Symbol.asyncDispose]() {
      removePostgresData(join(path, 'postgres'));
      rmSync(path, { recursive: true, force: true });
    },
  };
};

const lockOrThrow = async (path: string): Promise<DirectoryLock> => {
  const claimed = await lockDirectory(join(path, OWNER_FILE));
  if (!claimed.ok) throw new Error(`${path} is new, and belongs to pid ${claimed.pid} already`);
  return claimed.claim;
};

/** A run that was killed could not clean up; the next one does, for processes and directories of ours alone. */
export const removeStaleTestDirectories = async (): Promise<void> => {
  const names = readdirSync(tmpdir()).filter((name) => TEST_DIRECTORY_NAME.test(name));
  for (const directory of names.map((name) => join(tmpdir(), name))) {
    const file = OWNER_FILES.map((name) => join(directory, name)).find(isOwnedByUser);
    if (file === undefined) continue;
    const claimed = await lockDirectory(file);
    if (claimed.ok) rmSync(directory, { recursive: true, force: true });
  }
};

/** Another user's leftovers are that user's business. */
const isOwnedByUser = (file: string): boolean =>
  statSync(file, { throwIfNoEntry: false })?.uid === process.getuid?.();
