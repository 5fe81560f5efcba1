import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;
const UTIME = 11;
const STIME = 12;

/** CPU seconds (user and system) that a process has used so far. Linux: proc(5), `/proc/[pid]/stat`. */
export const cpuSecondsOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command may hold spaces; what follows its closing parenthesis does not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[UTIME]) + Number(fields[STIME])) / TICKS_PER_SECOND;
};

/** Resident memory of a process in bytes. Linux: proc(5), `VmRSS` of `/proc/[pid]/status`. */
export const rssBytesOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

/** The middle one of several measurements. */
export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};
