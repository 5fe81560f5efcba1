import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Field 22 of /proc/<pid>/stat, counted after the command, which may itself hold spaces and brackets. */
const START_TIME_AFTER_COMMAND = 19;

/**
 * When a process was started, in the system's own words; undefined when there is no such process.
 * A process id alone says little, for the system gives it to another process later.
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

/** True while the process that was started then is still there (a zombie is not). */
export const isAlive = (one: { readonly pid: number; readonly startTime: string }): boolean =>
  startTimeOf(one.pid) === one.startTime;

const startTimeFromProc = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[START_TIME_AFTER_COMMAND - 1];
  } catch {
    return undefined;
  }
};

/** The command line of a process, as far as the system shows it. */
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
