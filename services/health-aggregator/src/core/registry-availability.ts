import type { InstanceMonitor } from './instance-monitor.ts';

const SILENT_MS = 5_000;
const HEARTBEAT_LATE_MS = 5_000;
const MIN_FOR_FAULT = 2;

/** Availability and consistency of the registry. Times in monotonic ms. */
export class RegistryAvailability {
  #readAt: number | undefined;
  #readableSince: number | undefined;
  #isLost = true;

  /** Time of the last successful read. */
  get readAt(): number | undefined {
    return this.#readAt;
  }

  recordRead(now: number): void {
    if (this.#isLost) this.#readableSince = now;
    this.#isLost = false;
    this.#readAt = now;
  }

  recordFailure(): void {
    this.#isLost = true;
    this.#readableSince = undefined;
  }

  /** ms since the registry became readable; 0 while it is not. */
  readableForMs(now: number): number {
    return this.#readableSince === undefined || this.#isSilent(now) ? 0 : now - this.#readableSince;
  }

  /** True when the registry is unreadable, or when heartbeats are missing while the processes answer probes. */
  isFrozen(now: number, monitors: readonly InstanceMonitor[]): boolean {
    if (this.#isLost || this.#isSilent(now)) return true;
    const serving = monitors.filter(({ state }) => state !== 'gone' && state !== 'down' && state !== 'draining');
    const lateButAnswering = serving.filter(
      ({ isAnswering, heartbeatAt }) => isAnswering && now - heartbeatAt > HEARTBEAT_LATE_MS,
    ).length;
    return lateButAnswering >= MIN_FOR_FAULT && lateButAnswering * 2 > serving.length;
  }

  /** True when a late heartbeat is evidence against an instance; false for 5 s after an outage of the registry. */
  areHeartbeatsReliable(now: number, monitors: readonly InstanceMonitor[]): boolean {
    return this.readableForMs(now) >= HEARTBEAT_LATE_MS && !this.isFrozen(now, monitors);
  }

  #isSilent(now: number): boolean {
    return this.#readAt === undefined || now - this.#readAt > SILENT_MS;
  }
}
