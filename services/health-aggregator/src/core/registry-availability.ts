import type { InstanceMonitor } from './instance-monitor.ts';

const SILENT_MS = 5_000;
const BEAT_LATE_MS = 5_000;
const MIN_FOR_FAULT = 2;

/** How far the registry may be believed. Times are monotonic ms. */
export class RegistryAvailability {
  #readAt: number | undefined;
  #readableSince: number | undefined;
  #lost = true;

  /** When it was last read. */
  get readAt(): number | undefined {
    return this.#readAt;
  }

  /** It was read. */
  recordRead(now: number): void {
    if (this.#lost) this.#readableSince = now;
    this.#lost = false;
    this.#readAt = now;
  }

  /** It could not be read. */
  recordFailure(): void {
    this.#lost = true;
    this.#readableSince = undefined;
  }

  /** ms it has been readable without a break; 0 when it is not. */
  readableForMs(now: number): number {
    return this.#readableSince === undefined || this.#silent(now) ? 0 : now - this.#readableSince;
  }

  /** True when it cannot be read, or when heartbeats vanish while the processes answer: then it is wrong, not they. */
  isFrozen(now: number, watches: readonly InstanceMonitor[]): boolean {
    if (this.#lost || this.#silent(now)) return true;
    const serving = watches.filter(
      ({ state }) => state !== 'gone' && state !== 'down' && state !== 'draining',
    );
    const lateButWell = serving.filter(
      ({ isAnswering: answers, heartbeatAt }) => answers && now - heartbeatAt > BEAT_LATE_MS,
    ).length;
    return lateButWell >= MIN_FOR_FAULT && lateButWell * 2 > serving.length;
  }

  /** True when a late heartbeat may be held against an instance; after an outage everybody needs a moment to heartbeat again. */
  areHeartbeatsReliable(now: number, watches: readonly InstanceMonitor[]): boolean {
    return this.readableForMs(now) >= BEAT_LATE_MS && !this.isFrozen(now, watches);
  }

  #silent(now: number): boolean {
    return this.#readAt === undefined || now - this.#readAt > SILENT_MS;
  }
}
