import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/**
 * CPU seconds (user and system) that the threads of a process have used so far, in nanoseconds of the scheduler: the
 * ticks of `/proc/[pid]/stat` would be 10 ms each. Linux: `/proc/[pid]/task/[tid]/schedstat`.
 */
export const cpuSecondsOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + threadNanoseconds(pid, thread), 0) / 1e9;

/** 0 for a thread that has ended since it was listed. */
const threadNanoseconds = (pid: number, thread: string): number => {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    return 0;
  }
};

/** Resident memory of a process in bytes. Linux: proc(5), `VmRSS` of `/proc/[pid]/status`. */
export const rssBytesOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

/** The middle one of several measurements. */
export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};

/** Of the machine: those that this process may use become fewer. */
const CORES = cpus().length;
/** The core of the servers under measurement. */
const SERVER_CORE = '0';

/**
 * Moves this process, and what it starts from now on (load and stores), off the core of the servers. False where it is
 * not possible: one core only, or no `taskset`.
 */
export const leaveServerCore = (): boolean => CORES > 1 && pin(process.pid, `1-${CORES - 1}`);

/** Moves a server under measurement to a core of its own. */
export const useServerCore = (pid: number): boolean => pin(pid, SERVER_CORE);

const pin = (pid: number, cores: string): boolean => {
  try {
    execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cores, String(pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
