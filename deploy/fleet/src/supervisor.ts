import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, describeExit } from '@muster/local/child-process';
import type { DirectoryLock } from '@muster/local/directory-lock';
import { type ServerSpec, startServer } from '@muster/local/server-process';

/** A server process that is restarted when it ends unexpectedly. */
export interface SupervisedProcess {
  readonly name: string;
  /** Process id; undefined while it does not run. */
  pid(): number | undefined;
  /** Starts it and waits until it is ready; rejects when this start fails. */
  start(signal?: AbortSignal): Promise<void>;
  /** Sends a signal to the process; it is restarted when it ends. */
  kill(signal: NodeJS.Signals): boolean;
  /** Sends a signal and disables the restart, without waiting. */
  retire(signal: NodeJS.Signals): void;
  /** Stops it and keeps it down until the next `start`. */
  stop(): Promise<void>;
  lastLines(): readonly string[];
}

export interface SupervisorDeps {
  readonly spec: ServerSpec;
  readonly log: (line: string) => void;
  readonly lock: DirectoryLock;
  /** Called when the process was replaced. */
  readonly onChange: () => void;
}

const FIRST_DELAY_MS = 200;
const MAX_DELAY_MS = 10_000;
/** Time of operation after which the delay is reset. */
const STABLE_MS = 30_000;

/** Restart delays: 0.2 s, doubled with each crash up to 10 s, reset after 30 s of operation. `now` is monotonic, ms. */
export const createBackOff = (now: () => number) => {
  let next = FIRST_DELAY_MS;
  let upSince: number | undefined;
  return {
    /** Records that the server is ready. */
    up(): void {
      upSince = now();
    },
    /** Records a crash or a failed start. Returns the delay before the next start, ms. */
    nextDelay(): number {
      if (upSince !== undefined && now() - upSince >= STABLE_MS) next = FIRST_DELAY_MS;
      upSince = undefined;
      const delay = next;
      next = Math.min(MAX_DELAY_MS, next * 2);
      return delay;
    },
  };
};

/** Keeps a server running: logs an unexpected exit with its last lines, and restarts it with back-off. */
export const supervise = ({ spec, log, lock, onChange }: SupervisorDeps): SupervisedProcess => {
  const { name } = spec.child;
  const backOff = createBackOff(() => performance.now());
  let shouldRun = false;
  let child: Child | undefined;
  let abort = new AbortController();
  let launching: Promise<void> = Promise.resolve();

  const launch = (signal?: AbortSignal): Promise<void> => {
    const stopped = abort.signal;
    const launched = launchOnce(signal === undefined ? stopped : AbortSignal.any([signal, stopped]));
    launching = launched.catch(() => {});
    return launched;
  };

  const launchOnce = async (signal: AbortSignal): Promise<void> => {
    const onSpawn = (spawned: Child) => {
      child = spawned;
      lock.add({ name, pid: spawned.pid, stopSignal: spec.stopSignal });
      void spawned.exited.then(() => lock.remove(spawned.pid));
    };
    const started = await startServer(spec, { signal, onSpawn });
    backOff.up();
    onChange();
    void started.exited.then((ending) => {
      if (shouldRun) void recover(`${name} ended (${describeExit(ending)})`, started.lastLines());
    });
  };

  const recover = async (what: string, lines: readonly string[]): Promise<void> => {
    log([what, ...lines.map((line) => `    ${line}`)].join('\n'));
    while (shouldRun) {
      const delay = backOff.nextDelay();
      log(`${name} restarts in ${delay / 1000} s`);
      await sleep(delay, undefined, { signal: abort.signal }).catch(() => {});
      if (!shouldRun) return;
      try {
        await launch();
        log(`${name} is ready again (pid ${child?.pid})`);
        return;
      } catch (error) {
        if (shouldRun) log((error as Error).message);
      }
    }
  };

  const stop = async (): Promise<void> => {
    shouldRun = false;
    abort.abort();
    // A process that is starting has to be stopped too.
    await launching;
    const ending = await child?.stop({ signal: spec.stopSignal, deadlineMs: spec.stopDeadlineMs });
    if (ending?.forced) log(`${name} did not end within ${spec.stopDeadlineMs / 1000} s and was killed`);
  };

  const start = async (signal?: AbortSignal): Promise<void> => {
    abort = new AbortController();
    shouldRun = true;
    try {
      await launch(signal);
    } catch (error) {
      shouldRun = false;
      throw error;
    }
  };

  return {
    name,
    pid: () => (child?.isRunning() ? child.pid : undefined),
    start,
    kill: (signal) => child?.kill(signal) ?? false,
    retire(signal) {
      shouldRun = false;
      abort.abort();
      child?.kill(signal);
    },
    stop,
    lastLines: () => child?.lastLines() ?? [],
  };
};
