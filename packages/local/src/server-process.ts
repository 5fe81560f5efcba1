import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, type ChildOptions, describeExit, startChild } from './child-process.ts';
import { acceptsConnections } from './ports.ts';
import type { Program } from './programs.ts';

const POLL_MS = 25;
const READY_TIMEOUT_MS = 30_000;
/** Stop deadline of a server that was never ready: it has nothing to finish. */
const ABORT_DEADLINE_MS = 1_000;

/** How a server starts, when it is ready, and how it stops. May be started many times. */
export interface ServerSpec {
  readonly child: ChildOptions;
  /** Removes what an earlier run left; runs before each start. */
  prepare?(): Promise<void> | void;
  /** True once it serves. Polled; a rejection counts as not ready. */
  isReady(): Promise<boolean>;
  readonly stopSignal: NodeJS.Signals;
  readonly stopDeadlineMs: number;
  readonly readyTimeoutMs?: number | undefined;
}

/** A server did not become ready. The message has its name, the reason, and its last lines. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** Program and port of a local server that runs in the foreground. */
export interface ForegroundOptions extends Pick<ChildOptions, 'env' | 'logFile'> {
  readonly program: Program;
  readonly port: number;
}

/** Defaults: `isReady` when the port accepts connections, `stopDeadlineMs` 5000. */
interface ForegroundServer
  extends ForegroundOptions,
    Pick<ChildOptions, 'name' | 'args'>,
    Partial<Pick<ServerSpec, 'stopDeadlineMs' | 'isReady' | 'prepare'>> {
  readonly account?: Pick<ChildOptions, 'uid' | 'gid'> | undefined;
}

/** The {@link ServerSpec} of a server that SIGTERM stops. */
export const foregroundServer = ({ program, account, ...server }: ForegroundServer): ServerSpec => ({
  child: {
    name: server.name,
    command: program.path,
    argv0: program.argv0,
    args: server.args,
    env: server.env,
    logFile: server.logFile,
    ...account,
  },
  isReady: server.isReady ?? (() => acceptsConnections(server.port)),
  prepare: server.prepare ?? (() => {}),
  stopSignal: 'SIGTERM',
  stopDeadlineMs: server.stopDeadlineMs ?? 5_000,
});

/**
 * Starts a server and waits until it serves. Rejects with {@link StartError} when it ends or takes too long,
 * or when the signal aborts; the process is then stopped.
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
    await child.stop({ signal: spec.stopSignal, deadlineMs: ABORT_DEADLINE_MS });
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
      throw new StartError(withLines(`${name} ended while starting (${describeExit(await child.exited)})`, child));
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
