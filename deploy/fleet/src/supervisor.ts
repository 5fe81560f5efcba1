import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, describeExit } from '@muster/local/child-process';
import type { DirectoryLock } from '@muster/local/directory-lock';
import { type ServerSpec, startServer } from '@muster/local/server-process';
import { createBackOff } from './back-off.ts';

/** One server that is kept running. */
export interface SupervisedProcess {
  readonly name: string;
  /** Of the process that runs now. */
  pid(): number | undefined;
  /** Starts it and waits until it serves; rejects when this first start fails. */
  start(signal?: AbortSignal): Promise<void>;
  /** Sends a signal to the process, as a crash or an operator would; it is started again when it ends. */
  kill(signal: NodeJS.Signals): boolean;
  /** Ends it and keeps it down until {@link resume}. */
  halt(): Promise<void>;
  resume(): Promise<void>;
  /** Tells it that its end is wanted, by another signal than usual; it will not be started again. */
  retire(signal: NodeJS.Signals): void;
  /** Ends it for good. */
  stop(): Promise<void>;
  lastLines(): readonly string[];
}

interface SupervisorDeps {
  readonly spec: ServerSpec;
  readonly say: (line: string) => void;
  readonly lock: DirectoryLock;
  /** The process changed: somebody may want to write down its new id. */
  readonly onChange: () => void;
}

/** Keeps a server running: says when it ends by itself, with its last lines, and starts it again with back-off. */
export const supervise = ({ spec, say, lock: claim, onChange }: SupervisorDeps): SupervisedProcess => {
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
      claim.add({ name, pid: spawned.pid, stopSignal: spec.stopSignal });
      void spawned.exited.then(() => claim.remove(spawned.pid));
    };
    const started = await startServer(spec, { signal, onSpawn });
    backOff.up();
    onChange();
    void started.exited.then((ending) => {
      if (shouldRun) void recover(`${name} ended (${describeExit(ending)})`, started.lastLines());
    });
  };

  const recover = async (what: string, lines: readonly string[]): Promise<void> => {
    say([what, ...lines.map((line) => `    ${line}`)].join('\n'));
    while (shouldRun) {
      const pause = backOff.pause();
      say(`${name} starts again in ${pause / 1000} s`);
      await sleep(pause, undefined, { signal: abort.signal }).catch(() => {});
      if (!shouldRun) return;
      try {
        await launch();
        say(`${name} is back (pid ${child?.pid})`);
        return;
      } catch (error) {
        if (shouldRun) say((error as Error).message);
      }
    }
  };

  const stop = async (): Promise<void> => {
    shouldRun = false;
    abort.abort();
    // What is just being started is part of what has to end.
    await launching;
    const ending = await child?.stop({ signal: spec.stopSignal, deadlineMs: spec.stopDeadlineMs });
    if (ending?.forced) say(`${name} did not end within ${spec.stopDeadlineMs / 1000} s and was killed`);
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
    start: start,
    kill: (signal) => child?.kill(signal) ?? false,
    halt: stop,
    resume: () => start(),
    retire(signal) {
      shouldRun = false;
      abort.abort();
      child?.kill(signal);
    },
    stop: stop,
    lastLines: () => child?.lastLines() ?? [],
  };
};
