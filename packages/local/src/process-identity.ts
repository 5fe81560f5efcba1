import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Field 22 of /proc/<pid>/stat, counted after the command, which may contain spaces and brackets. */
const START_TIME_AFTER_COMMAND = 19;

/** The result of `read`; undefined when it throws. */
export const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

/**
 * Start time of a process in the format of the system; undefined when no such process exists. Together they identify
 * a process: the system reuses process ids.
 */
export const startTimeOf = (pid: number): string | undefined =>
  attempt(() => (process.platform === 'linux' ? startTimeFromProc(pid) : fieldOfPs(pid, 'lstart'))) || undefined;

/** True while the process with this start time runs; false for a zombie. */
export const isAlive = (child: { readonly pid: number; readonly startTime: string }): boolean =>
  startTimeOf(child.pid) === child.startTime;

const startTimeFromProc = (pid: number): string | undefined => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' || state === 'X' ? undefined : fields[START_TIME_AFTER_COMMAND - 1];
};

/** Command line of a process, as far as it is visible. */
export const commandOf = (pid: number): string | undefined =>
  attempt(() =>
    process.platform === 'linux'
      ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      : fieldOfPs(pid, 'command'),
  );

const fieldOfPs = (pid: number, field: string): string =>
  execFileSync('ps', ['-o', `${field}=`, '-p', String(pid)], { encoding: 'utf8' }).trim();
