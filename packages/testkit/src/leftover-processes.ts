import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { afterAll } from 'vitest';

/** Grace period of a process after a signal. */
const GRACE_MS = 10_000;

/** Child processes of this worker that have not exited. */
const running = new Set<ChildProcess>();
subscribe('child_process', (message) => {
  const { process: child } = message as { readonly process: ChildProcess };
  running.add(child);
  child.once('exit', () => running.delete(child));
  child.once('error', () => running.delete(child));
});

/** Resolves when a process has exited, or after the grace period. */
const waitForEnd = (child: ChildProcess): Promise<unknown> =>
  once(child, 'exit', { signal: AbortSignal.timeout(GRACE_MS) }).catch(() => undefined);

/**
 * Kills the processes that a test file leaves running, and fails the file: its worker, and with it the run, would wait
 * for them. A setup file of Vitest: this hook runs after those of the test file.
 */
afterAll(async () => {
  await Promise.all([...running].filter((child) => child.killed).map(waitForEnd));
  const left = [...running];
  for (const child of left) child.kill('SIGKILL');
  await Promise.all(left.map(waitForEnd));
  if (left.length === 0) return;
  const commands = left.map(({ pid, spawnargs }) => `  ${pid}: ${spawnargs.join(' ')}`).join('\n');
  throw new Error(`This test file did not end its child processes; they were killed:\n${commands}`);
}, 3 * GRACE_MS);
