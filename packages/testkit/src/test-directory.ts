import { readdirSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DirectoryLock, lockDirectory } from '@muster/local/directory-lock';
import { removePostgresData } from '@muster/local/postgres';
import { type ServerSpec, startServer } from '@muster/local/server-process';

const OWN_PREFIX = 'muster-test-';
const OWNER_FILE = 'owner.json';
/** Names of directories that test runs create. */
const TEST_DIRECTORY_NAME = /^muster-(test|launcher|fleet|bench)-\w{6}$/;
const OWNER_FILES = [OWNER_FILE, 'launcher.json'];

/** A directory of a test run and its server processes. Disposing it removes it. */
export interface TestDirectory extends AsyncDisposable {
  readonly path: string;
  /** Starts a server; the next run stops it when this run is killed. */
  start(spec: ServerSpec): ReturnType<typeof startServer>;
}

/** Creates a temporary directory. Other users may enter it: as root, Postgres runs as another user. */
export const openTestDirectory = async (): Promise<TestDirectory> => {
  const path = await mkdtemp(join(tmpdir(), OWN_PREFIX));
  await chmod(path, 0o755);
  const locked = await lockOrThrow(path);
  return {
    path,
    start: (spec) =>
      startServer(spec, {
        onSpawn: ({ name, pid }) => locked.add({ name, pid, stopSignal: spec.stopSignal }),
      }),
    async [Symbol.asyncDispose]() {
      removePostgresData(join(path, 'postgres'));
      rmSync(path, { recursive: true, force: true });
    },
  };
};

const lockOrThrow = async (path: string): Promise<DirectoryLock> => {
  const locked = await lockDirectory(join(path, OWNER_FILE));
  if (!locked.ok) throw new Error(`${path}: expected a new directory, but pid ${locked.pid} holds its lock`);
  return locked.lock;
};

/** Removes processes and directories of killed runs, those of this user only. */
export const removeStaleTestDirectories = async (): Promise<void> => {
  const names = readdirSync(tmpdir()).filter((name) => TEST_DIRECTORY_NAME.test(name));
  for (const directory of names.map((name) => join(tmpdir(), name))) {
    const file = OWNER_FILES.map((name) => join(directory, name)).find(isOwnedByUser);
    if (file === undefined) continue;
    const locked = await lockDirectory(file);
    if (locked.ok) rmSync(directory, { recursive: true, force: true });
  }
};

/** True for a file of the current user. */
const isOwnedByUser = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.uid === process.getuid?.();
