import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, startTimeOf } from './process-identity.ts';

const POLL_MS = 50;

/** One process of ours, known beyond our own end. */
export interface RecordedChild {
  readonly name: string;
  readonly pid: number;
  readonly startTime: string;
  /** What ends it politely. */
  readonly stopSignal: NodeJS.Signals;
}

interface LockFile {
  readonly pid: number;
  readonly startTime: string;
  readonly children: readonly RecordedChild[];
}

/** A directory is ours while we live; who our children are is written down for whoever comes after a crash. */
export interface DirectoryLock {
  /** Children of an owner that died without ending them, now ended. */
  readonly endedOrphans: readonly RecordedChild[];
  add(child: { name: string; pid: number; stopSignal: NodeJS.Signals }): void;
  remove(pid: number): void;
  /** Gives the directory back. */
  release(): void;
}

/**
 * Claims a directory by a file in it. Answers who has it when a live process does. When its last owner died
 * (kill -9, power), the children that it left are ended first: those of that file and those only, recognised
 * by process id and start time.
 */
export const lockDirectory = async (
  file: string,
  { orphanDeadlineMs = 5_000 } = {},
): Promise<{ ok: true; claim: DirectoryLock } | { ok: false; pid: number }> => {
  const before = read(file);
  if (before !== undefined && isAlive(before)) return { ok: false, pid: before.pid };
  const orphans = (before?.children ?? []).filter(isAlive);
  await endOrphans(orphans, orphanDeadlineMs);

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
    claim: {
      endedOrphans: orphans,
      add({ name, pid, stopSignal }) {
        const startTime = startTimeOf(pid);
        // Already gone: nobody will have to end it.
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

const read = (file: string): LockFile | undefined => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LockFile;
  } catch {
    return undefined;
  }
};

const endOrphans = async (orphans: readonly RecordedChild[], deadlineMs: number): Promise<void> => {
  for (const orphan of orphans) sendSignal(orphan, orphan.stopSignal);
  const deadline = performance.now() + deadlineMs;
  while (orphans.some(isAlive) && performance.now() < deadline) await sleep(POLL_MS);
  for (const orphan of orphans.filter(isAlive)) sendSignal(orphan, 'SIGKILL');
  while (orphans.some(isAlive)) await sleep(POLL_MS);
};

const sendSignal = (one: RecordedChild, signal: NodeJS.Signals): void => {
  try {
    process.kill(one.pid, signal);
  } catch {
    // It ended by itself in the meantime.
  }
};
