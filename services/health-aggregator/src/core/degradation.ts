import type { DependencyReading, ObservedHeartbeat } from './ports.ts';

const LOOP_SLOW_MS = 250;
const LOOP_SLOW_BEATS = 3;
const LOOP_BUSY_RATIO = 0.95;
const LOOP_BUSY_MS = 20_000;
const NEAR_LIMIT_RATIO = 0.9;
const PROBE_SLOW_MS = 500;
const PROBE_SLOW_COUNT = 3;

/** Names the first dependency that is down, or nothing. */
const failing = (dependencies: Readonly<Record<string, DependencyReading>>): string | undefined => {
  for (const [name, reading] of Object.entries(dependencies)) {
    if (reading.status === 'down') return name;
  }
  return undefined;
};

/**
 * Collects what makes an instance that answers nevertheless `degraded`: slow loop, no headroom, slow answers,
 * a dependency it cannot reach. It remembers just enough to ask for repetition, so one bad second is no strain.
 */
export class Degradation {
  #slowLoops = 0;
  #busySince: number | undefined;
  #nearLimit = false;
  #slowProbes = 0;
  #saysDegraded = false;
  #dependency: string | undefined;

  /** Takes a new heartbeat, `at` in monotonic ms. */
  recordHeartbeat(heartbeat: ObservedHeartbeat, at: number): void {
    const loopP99Ms = heartbeat.load['loopP99Ms'] ?? 0;
    this.#slowLoops = loopP99Ms > LOOP_SLOW_MS ? this.#slowLoops + 1 : 0;
    if ((heartbeat.load['loopUtilisation'] ?? 0) > LOOP_BUSY_RATIO) this.#busySince ??= at;
    else this.#busySince = undefined;
    const limit = heartbeat.load['connectionsLimit'] ?? 0;
    this.#nearLimit = limit > 0 && (heartbeat.load['connections'] ?? 0) > limit * NEAR_LIMIT_RATIO;
    this.#saysDegraded = heartbeat.state === 'degraded';
    this.#dependency = failing(heartbeat.dependencies);
  }

  /** Takes an answered probe: its duration, and the dependencies of its body (they travel without Redis). */
  recordProbe(
    durationMs: number,
    dependencies: Readonly<Record<string, DependencyReading>> | undefined,
  ): void {
    this.#slowProbes = durationMs > PROBE_SLOW_MS ? this.#slowProbes + 1 : 0;
    if (!dependencies) return;
    this.#dependency = failing(dependencies);
    if (!this.#dependency) this.#saysDegraded = false;
  }

  /** The code of the present strain, the most telling first; undefined when there is none. */
  causeAt(now: number): string | undefined {
    if (this.#dependency) return `dependency_${this.#dependency}`;
    if (this.#slowLoops >= LOOP_SLOW_BEATS) return 'loop_slow';
    if (this.#busySince !== undefined && now - this.#busySince >= LOOP_BUSY_MS) return 'loop_busy';
    if (this.#nearLimit) return 'near_limit';
    if (this.#slowProbes >= PROBE_SLOW_COUNT) return 'slow_answers';
    return this.#saysDegraded ? 'says_degraded' : undefined;
  }
}
