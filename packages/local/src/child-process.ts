import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Size at which a log is moved to `<name>.1` before the next start. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** Bytes read from the end of a log for its last lines. */
const TAIL_BYTES = 16 * 1024;
const TAIL_LINES = 12;
const TAIL_LINE_LENGTH = 600;

/** Program, arguments, environment and account of a child process; `argv0` is for binaries that select their function by name. */
export interface ChildOptions extends Pick<SpawnOptions, 'cwd' | 'argv0' | 'uid' | 'gid'> {
  /** Name in logs and errors. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The complete environment; nothing is inherited. */
  readonly env: NodeJS.ProcessEnv;
  /** File for standard output and error; its directory is created when missing. */
  readonly logFile: string;
}

/** Exit code, or the signal that ended the process. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the process has ended. Never rejects. */
  readonly exited: Promise<ChildExit>;
  isRunning(): boolean;
  /** Last lines of its output since the start. */
  lastLines(): readonly string[];
  /** Sends a signal to this process alone; false when it has ended. */
  kill(signal: NodeJS.Signals): boolean;
  /** Sends the signal and waits; sends SIGKILL after `deadlineMs`. */
  stop(options: { signal: NodeJS.Signals; deadlineMs: number }): Promise<ChildExit & { readonly forced: boolean }>;
}

/**
 * Starts a process in its own process group: Ctrl-C reaches only this process, which decides the order of the stop.
 * The output goes directly to the log file. Rejects when the program cannot be started.
 */
export const startChild = async ({ name, command, args, logFile, ...options }: ChildOptions): Promise<Child> => {
  const log = openLog(logFile);
  try {
    const spawned = spawn(command, args, { ...options, detached: true, stdio: ['ignore', log.fd, log.fd] });
    // A later failure, such as that of a signal, must not end this process.
    spawned.on('error', () => {});
    await once(spawned, 'spawn').catch((cause: Error) => {
      throw new Error(`${name}: could not start ${command}: ${cause.message}`, { cause });
    });
    return childOf(spawned, { name, lastLines: () => tailOf(logFile, log.size) });
  } finally {
    closeSync(log.fd);
  }
};

const childOf = (spawned: ChildProcess, about: Pick<Child, 'name' | 'lastLines'>): Child => {
  let running = true;
  const ended = new Promise<ChildExit>((resolve) => {
    spawned.once('exit', (code, signal) => {
      running = false;
      resolve({ code, signal });
    });
  });
  const kill = (signal: NodeJS.Signals): boolean => running && spawned.kill(signal);
  return {
    ...about,
    pid: spawned.pid ?? -1,
    exited: ended,
    isRunning: () => running,
    kill,
    async stop({ signal, deadlineMs }) {
      kill(signal);
      let forced = false;
      const deadline = setTimeout(() => {
        forced = kill('SIGKILL');
      }, deadlineMs);
      const exit = await ended;
      clearTimeout(deadline);
      return { ...exit, forced };
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

/** Text of an exit: `exit code 1`, `killed by SIGKILL`. */
export const describeExit = ({ code, signal }: ChildExit): string =>
  signal === null ? `exit code ${code ?? 'unknown'}` : `killed by ${signal}`;
