import { randomBytes } from 'node:crypto';
import type { TestProject } from 'vitest/node';
import { openStoreBackend, type StoreBackend } from './store-backend.ts';
import { dropTemplate } from './template.ts';

/** Store URLs for test files: `inject('storeBackend')`. */
export interface StoreBackendAddress {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** Unique per run, so that concurrent runs on one server are isolated. */
  readonly run: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    storeBackend: StoreBackendAddress;
  }
}

interface Shared {
  users: number;
  readonly run: string;
  readonly backend: Promise<StoreBackend>;
}

/** Each project of a run loads this file; the stores are started once for all. */
const SHARED_KEY = Symbol.for('muster.testkit.store-backend');
const shared = globalThis as { [SHARED_KEY]?: Shared | undefined };

const log = (line: string): void => void process.stdout.write(`testkit: ${line}\n`);

const open = (): Shared => {
  const backing = openStoreBackend(process.env, log);
  void backing.then(
    ({ description }) => log(description),
    () => {},
  );
  return { users: 0, run: randomBytes(4).toString('hex'), backend: backing };
};

/** Called by Vitest before the first test of a project. */
export const setup = async (project: TestProject): Promise<void> => {
  shared[SHARED_KEY] ??= open();
  shared[SHARED_KEY].users += 1;
  const { redisUrl, databaseUrl } = await shared[SHARED_KEY].backend;
  project.provide('storeBackend', { redisUrl, databaseUrl, run: shared[SHARED_KEY].run });
};

/** Called by Vitest after the last test of a project. */
export const teardown = async (): Promise<void> => {
  const current = shared[SHARED_KEY];
  if (current === undefined) return;
  current.users -= 1;
  if (current.users > 0) return;
  shared[SHARED_KEY] = undefined;
  await using backing = await current.backend;
  await dropTemplate(backing.databaseUrl, current.run);
};
