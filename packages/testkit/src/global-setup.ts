import { randomBytes } from 'node:crypto';
import type { TestProject } from 'vitest/node';
import { openStoreBackend, type StoreBackend } from './store-backend.ts';
import { dropTemplate } from './template.ts';

/** What every test file can ask for: `inject('storeBackend')`. */
export interface StoreBackendAddress {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** Different in every run, so that runs on one server do not meet. */
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

/** Several projects of one run load this file once each; the stores are started once for all of them. */
const SHARED_KEY = Symbol.for('muster.testkit.store-backend');
const shared = globalThis as { [SHARED_KEY]?: Shared | undefined };

const say = (line: string): void => void process.stdout.write(`testkit: ${line}\n`);

const open = (): Shared => {
  const backing = openStoreBackend(process.env, say);
  void backing.then(
    ({ description }) => say(description),
    () => {},
  );
  return { users: 0, run: randomBytes(4).toString('hex'), backend: backing };
};

/** Vitest calls it before the first test of a project. */
export const setup = async (project: TestProject): Promise<void> => {
  shared[SHARED_KEY] ??= open();
  shared[SHARED_KEY].users += 1;
  const { redisUrl, databaseUrl } = await shared[SHARED_KEY].backend;
  project.provide('storeBackend', { redisUrl, databaseUrl, run: shared[SHARED_KEY].run });
};

/** Vitest calls it after the last test of a project. */
export const teardown = async (): Promise<void> => {
  const mine = shared[SHARED_KEY];
  if (mine === undefined) return;
  mine.users -= 1;
  if (mine.users > 0) return;
  shared[SHARED_KEY] = undefined;
  await using backing = await mine.backend;
  await dropTemplate(backing.databaseUrl, mine.run);
};
