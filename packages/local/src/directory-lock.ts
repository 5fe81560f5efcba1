import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { attempt, isAlive, startTimeOf } from './process-identity.ts';

const POLL_MS = 50;
/** Time to stop for the children of a crashed owner; SIGKILL follows. */
const ORPHAN_DEADLINE_MS = 5_000;

/** A child process in the lock file. */
export interface RecordedChild {
  readonly name: string;
  readonly pid: number;
  readonly startTime: string;
  /** Signal that stops it gracefully. */
  readonly stopSignal: NodeJS.Signals;
}

interface LockFile {
  readonly pid: number;
  readonly startTime: string;
  readonly children: readonly RecordedChild[];
}

/** Lock on a directory. Its file lists the child processes, so that the next owner can stop them after a crash. */
export interface DirectoryLock {
  /** Children of a crashed owner that were stopped. */
  readonly endedOrphans: readonly RecordedChild[];
  add(child: Omit<RecordedChild, 'startTime'>): void;
  remove(pid: number): void;
  /** Releases the lock. */
  release(): void;
}

/**
 * Locks a directory by a file in it. Resolves with the process id of the owner when it is alive. When the last owner
 * crashed, its children are stopped first: those in the file, identified by process id and start time.
 */
export const lockDirectory = async (
  file: string,
): Promise<{ ok: true; lock: DirectoryLock } | { ok: false; pid: number }> => {
  const previous = attempt(() => JSON.parse(readFileSync(file, 'utf8')) as LockFile);
  if (previous !== undefined && isAlive(previous)) return { ok: false, pid: previous.pid };
  const orphans = (previous?.children ?? []).filter(isAlive);
  await endOrphans(orphans);

  const children = new Map<number, RecordedChild>();
  const self = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' };
  const write = () => {
    const record: LockFile = { ...self, children: [...children.values()] };
    writeFileSync(`${file}.${process.pid}`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${file}.${process.pid}`, file);
  };
  mkdirSync(dirname(file), { recursive: true });
  write();
  return {
    ok: true,
    lock: {
      endedOrphans: orphans,
      add({ name, pid, stopSignal }) {
        const startTime = startTimeOf(pid);
        // It has ended already.
        if (startTime === undefined) return;
        children.set(pid, { name, pid, startTime, stopSignal });
        write();
      },
      remove(pid) {
        if (children.delete(pid)) write();
      },
      release: () => rmSync(file, { force: true }),
    },
  };
};

const endOrphans = async (orphans: readonly RecordedChild[]): Promise<void> => {
  // A child may end in the meantime: a signal that finds no process is not an error.
  for (const { pid, stopSignal } of orphans) attempt(() => process.kill(pid, stopSignal));
  const deadline = performance.now() + ORPHAN_DEADLINE_MS;
  while (orphans.some(isAlive) && performance.now() < deadline) await sleep(POLL_MS);
  for (const { pid } of orphans.filter(isAlive)) attempt(() => process.kill(pid, 'SIGKILL'));
  while (orphans.some(isAlive)) await sleep(POLL_MS);
};
