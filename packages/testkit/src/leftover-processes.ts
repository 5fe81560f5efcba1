import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { afterAll } from 'vitest';

/** Time for a process that was sent a signal to end. */
const GRACE_MS = 10_000;

/** Processes of this worker whose end was not announced yet. */
const running = new Set<ChildProcess>();
subscribe('child_process', (message) => {
  const { process: child } = message as { readonly process: ChildProcess };
  running.add(child);
  child.once('exit', () => running.delete(child));
  child.once('error', () => running.delete(child));
});

/** Resolves when a process that runs has ended, or after the grace. */
const waitForEnd = (child: ChildProcess): Promise<unknown> =>
  once(child, 'exit', { signal: AbortSignal.timeout(GRACE_MS) }).catch(() => undefined);

/**
 * Kills what a test file has started and not ended, and fails the file: the worker of the file would otherwise wait for
 * these processes, and with it the whole run. A setup file of Vitest: this hook runs after those of the test file.
 */
afterAll(async () => {
  await Promise.all([...running].filter((child) => child.killed).map(waitForEnd));
  const left = [...running];
  for (const child of left) child.kill('SIGKILL');
  await Promise.all(left.map(waitForEnd));
  if (left.length === 0) return;
  const commands = left.map(({ pid, spawnargs }) => `  ${pid}: ${spawnargs.join(' ')}`).join('\n');
  throw new Error(`This test file did not end the processes that it started; they were killed:\n${commands}`);
}, 3 * GRACE_MS);
