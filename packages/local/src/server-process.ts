import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, type ChildOptions, describeExit, startChild } from './child-process.ts';

const POLL_MS = 25;
const READY_TIMEOUT_MS = 30_000;
/** What never served anybody has nothing to finish. */
const GIVE_UP_MS = 1_000;

/** A program that serves others: how it starts, when it is usable, how it ends. May be started many times. */
export interface ServerSpec {
  readonly child: ChildOptions;
  /** Clears what an earlier run may have left; runs before each start. */
  prepare?(): Promise<void> | void;
  /** True once it serves. Asked again and again; a rejection counts as "not yet". */
  isReady(): Promise<boolean>;
  readonly stopSignal: NodeJS.Signals;
  readonly stopDeadlineMs: number;
  readonly readyTimeoutMs?: number | undefined;
}

/** A server did not become usable. The message names it, says why, and shows its last lines. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/**
 * Starts a server and waits until it serves. Rejects with {@link StartError} when it ends or takes too long,
 * or when the signal aborts; then nothing of it is left running.
 */
export const startServer = async (
  spec: ServerSpec,
  { signal, onSpawn }: { signal?: AbortSignal | undefined; onSpawn?: (child: Child) => void } = {},
): Promise<Child> => {
  await spec.prepare?.();
  signal?.throwIfAborted();
  const child = await startChild(spec.child);
  onSpawn?.(child);
  try {
    await untilReady(spec, child, signal);
    return child;
  } catch (error) {
    await child.stop({ signal: spec.stopSignal, deadlineMs: GIVE_UP_MS });
    throw error;
  }
};

const untilReady = async (spec: ServerSpec, child: Child, signal?: AbortSignal): Promise<void> => {
  const timeoutMs = spec.readyTimeoutMs ?? READY_TIMEOUT_MS;
  const deadline = performance.now() + timeoutMs;
  const { name } = spec.child;
  for (;;) {
    signal?.throwIfAborted();
    if (!child.isRunning()) {
      throw new StartError(
        withLines(`${name} ended while starting (${describeExit(await child.exited)})`, child),
      );
    }
    if (await spec.isReady().catch(() => false)) return;
    if (performance.now() > deadline) {
      throw new StartError(withLines(`${name} was not ready after ${timeoutMs / 1000} s`, child));
    }
    await sleep(POLL_MS);
  }
};

const withLines = (message: string, child: Child): string =>
  [message, ...child.lastLines().map((line) => `    ${line}`)].join('\n');
