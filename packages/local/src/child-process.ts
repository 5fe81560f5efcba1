import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A log that has grown beyond this moves to `<name>.1` before the next start. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** How much of the end of a log is read to show its last lines. */
const TAIL_BYTES = 16 * 1024;
const TAIL_LINES = 12;
const TAIL_LINE_LENGTH = 600;

/** What to run, and as whom. */
export interface ChildOptions {
  /** The name under which people hear of it. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the child, not an addition to ours. */
  readonly env: NodeJS.ProcessEnv;
  /** Where its standard output and error go. The directory is made when missing. */
  readonly logFile: string;
  readonly cwd?: string | undefined;
  /** Another name for `argv[0]`, for programs that behave by the name they are called. */
  readonly argv0?: string | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** How a process ended: by itself with a code, or by a signal. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One process that we started. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  /** Settles once, when the process is gone. Never rejects. */
  readonly exited: Promise<ChildExit>;
  isRunning(): boolean;
  /** The end of what it has written since it was started. */
  lastLines(): readonly string[];
  /** Sends a signal to this process alone; false when it is already gone. */
  kill(signal: NodeJS.Signals): boolean;
  /** Asks it to end and waits; kills it when it has not ended after `deadlineMs`. */
  stop(options: {
    signal: NodeJS.Signals;
    deadlineMs: number;
  }): Promise<ChildExit & { readonly forced: boolean }>;
}

/**
 * Starts a process in its own process group, so that Ctrl-C on the terminal reaches us alone and we decide the
 * order in which things end. Its output goes straight to the log file: it survives us, and costs us nothing.
 * Rejects when the program cannot be started at all.
 */
export const startChild = async (options: ChildOptions): Promise<Child> => {
  const log = openLog(options.logFile);
  try {
    const spawned = spawn(options.command, [...options.args], {
      argv0: options.argv0,
      cwd: options.cwd,
      env: options.env,
      uid: options.uid,
      gid: options.gid,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    await new Promise<void>((resolve, reject) => {
      spawned.once('spawn', resolve);
      spawned.once('error', (cause) => {
        reject(new Error(`${options.name} cannot be started: ${cause.message}`, { cause }));
      });
    });
    return childOf(spawned, options, log.size);
  } finally {
    closeSync(log.fd);
  }
};

const childOf = (spawned: ChildProcess, { name, logFile }: ChildOptions, logStart: number): Child => {
  let running = true;
  const ended = new Promise<ChildExit>((resolve) => {
    spawned.once('exit', (code, signal) => {
      running = false;
      resolve({ code, signal });
    });
  });
  const kill = (signal: NodeJS.Signals): boolean => running && spawned.kill(signal);
  return {
    name,
    pid: spawned.pid ?? -1,
    exited: ended,
    isRunning: () => running,
    lastLines: () => tailOf(logFile, logStart),
    kill,
    async stop({ signal, deadlineMs }) {
      kill(signal);
      const cancel = new AbortController();
      const late = sleep(deadlineMs, 'late' as const, { signal: cancel.signal }).catch(() => 'late' as const);
      const outcome = await Promise.race([ended, late]);
      cancel.abort();
      if (outcome !== 'late') return { ...outcome, forced: false };
      kill('SIGKILL');
      return { ...(await ended), forced: true };
    },
  };
};

const openLog = (path: string): { fd: number; size: number } => {
  mkdirSync(dirname(path), { recursive: true });
  const grown = statSync(path, { throwIfNoEntry: false });
  if (grown !== undefined && grown.size > MAX_LOG_BYTES) renameSync(path, `${path}.1`);
  const fd = openSync(path, 'a', 0o600);
  return { fd, size: fstatSync(fd).size };
};

const tailOf = (path: string, from: number): readonly string[] => {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const size = fstatSync(fd).size;
    const start = Math.max(from, size - TAIL_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - start));
    readSync(fd, buffer, 0, buffer.length, start);
    const lines = buffer.toString('utf8').split('\n');
    return lines
      .filter((line) => line.trim() !== '')
      .slice(-TAIL_LINES)
      .map((line) => (line.length > TAIL_LINE_LENGTH ? `${line.slice(0, TAIL_LINE_LENGTH)}…` : line));
  } finally {
    closeSync(fd);
  }
};

/** "exit code 1", "killed by SIGKILL": how to say an ending. */
export const describeExit = ({ code, signal }: ChildExit): string =>
  signal === null ? `exit code ${code ?? 'unknown'}` : `killed by ${signal}`;
