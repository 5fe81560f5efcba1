import type { DependencyReading, ObservedHeartbeat } from './ports.ts';

const LOOP_SLOW_MS = 250;
const LOOP_SLOW_HEARTBEATS = 3;
const LOOP_BUSY_RATIO = 0.95;
const LOOP_BUSY_MS = 20_000;
const NEAR_LIMIT_RATIO = 0.9;
const PROBE_SLOW_MS = 500;
const PROBE_SLOW_COUNT = 3;

/** Name of the first dependency that is down. */
const failedDependency = (dependencies: Readonly<Record<string, DependencyReading>>): string | undefined =>
  Object.entries(dependencies).find(([, { status }]) => status === 'down')?.[0];

/**
 * The causes for which an instance that answers is `degraded`: a failed dependency, a slow event loop, a nearly reached limit,
 * slow probes. Most of them count only after repetition.
 */
export class Degradation {
  #slowLoops = 0;
  #busySince: number | undefined;
  #isNearLimit = false;
  #slowProbes = 0;
  #reportsDegraded = false;
  #dependency: string | undefined;

  /** Records a new heartbeat, `at` in monotonic ms. */
  recordHeartbeat({ load, state, dependencies }: ObservedHeartbeat, at: number): void {
    this.#slowLoops = (load['loopP99Ms'] ?? 0) > LOOP_SLOW_MS ? this.#slowLoops + 1 : 0;
    if ((load['loopUtilisation'] ?? 0) > LOOP_BUSY_RATIO) this.#busySince ??= at;
    else this.#busySince = undefined;
    const limit = load['connectionsLimit'] ?? 0;
    this.#isNearLimit = limit > 0 && (load['connections'] ?? 0) > limit * NEAR_LIMIT_RATIO;
    this.#reportsDegraded = state === 'degraded';
    this.#dependency = failedDependency(dependencies);
  }

  /** Records a successful probe, and the dependencies of its health body: they arrive without Redis. */
  recordProbe(durationMs: number, dependencies: Readonly<Record<string, DependencyReading>> | undefined): void {
    this.#slowProbes = durationMs > PROBE_SLOW_MS ? this.#slowProbes + 1 : 0;
    if (!dependencies) return;
    this.#dependency = failedDependency(dependencies);
    if (!this.#dependency) this.#reportsDegraded = false;
  }

  /** Code of the most specific cause; undefined when there is none. */
  causeAt(now: number): string | undefined {
    if (this.#dependency) return `dependency_${this.#dependency}`;
    if (this.#slowLoops >= LOOP_SLOW_HEARTBEATS) return 'loop_slow';
    if (this.#busySince !== undefined && now - this.#busySince >= LOOP_BUSY_MS) return 'loop_busy';
    if (this.#isNearLimit) return 'near_limit';
    if (this.#slowProbes >= PROBE_SLOW_COUNT) return 'slow_answers';
    return this.#reportsDegraded ? 'says_degraded' : undefined;
  }
}
