import { randomBytes } from 'node:crypto';
import type { TestProject } from 'vitest/node';
import { type Backing, openBacking } from './store-backend.ts';
import { dropTemplate } from './template.ts';

/** What every test file can ask for: `inject('backing')`. */
export interface BackingAddress {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** Different in every run, so that runs on one server do not meet. */
  readonly run: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    backing: BackingAddress;
  }
}

interface Shared {
  users: number;
  readonly run: string;
  readonly backing: Promise<Backing>;
}

/** Several projects of one run load this file once each; the stores are started once for all of them. */
const PLACE = Symbol.for('muster.testkit.backing');
const shared = globalThis as { [PLACE]?: Shared | undefined };

const say = (line: string): void => void process.stdout.write(`testkit: ${line}\n`);

const open = (): Shared => {
  const backing = openBacking(process.env, say);
  void backing.then(
    ({ description }) => say(description),
    () => {},
  );
  return { users: 0, run: randomBytes(4).toString('hex'), backing };
};

/** Vitest calls it before the first test of a project. */
export const setup = async (project: TestProject): Promise<void> => {
  shared[PLACE] ??= open();
  shared[PLACE].users += 1;
  const { redisUrl, databaseUrl } = await shared[PLACE].backing;
  project.provide('backing', { redisUrl, databaseUrl, run: shared[PLACE].run });
};

/** Vitest calls it after the last test of a project. */
export const teardown = async (): Promise<void> => {
  const mine = shared[PLACE];
  if (mine === undefined) return;
  mine.users -= 1;
  if (mine.users > 0) return;
  shared[PLACE] = undefined;
  await using backing = await mine.backing;
  await dropTemplate(backing.databaseUrl, mine.run);
};
