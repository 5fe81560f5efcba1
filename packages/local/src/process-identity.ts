import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Field 22 of /proc/<pid>/stat, counted after the command, which may contain spaces and brackets. */
const START_TIME_AFTER_COMMAND = 19;

/**
 * Start time of a process in the format of the system; undefined when no such process exists. Together they identify
 * a process: the system reuses process ids.
 */
export const startTimeOf = (pid: number): string | undefined => {
  if (process.platform === 'linux') return startTimeFromProc(pid);
  try {
    const out = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
    return out.trim() === '' ? undefined : out.trim();
  } catch {
    return undefined;
  }
};

/** True while the process with this start time runs; false for a zombie. */
export const isAlive = (child: { readonly pid: number; readonly startTime: string }): boolean =>
  startTimeOf(child.pid) === child.startTime;

const startTimeFromProc = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[START_TIME_AFTER_COMMAND - 1];
  } catch {
    return undefined;
  }
};

/** Command line of a process, as far as it is visible. */
export const commandOf = (pid: number): string | undefined => {
  try {
    if (process.platform === 'linux') {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    }
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
};
