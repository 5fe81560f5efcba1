const MEMORY_MS = 15 * 60_000;

/**
 * How many instances a service should have: the configured number, or the most that served at once during the last
 * 15 minutes, lowered only when one leaves cleanly. So a crash is a loss, and scaling in is not.
 */
export class ExpectedInstances {
  readonly #configured: number;
  #peak = 0;
  #peakAt = 0;

  constructor(configured: number) {
    this.#configured = configured;
  }

  /** Tells how many serve now. */
  recordServing(count: number, now: number): void {
    if (count >= this.#peak || now - this.#peakAt > MEMORY_MS) {
      this.#peak = count;
      this.#peakAt = now;
    }
  }

  /** One instance has left cleanly. */
  recordLeave(): void {
    this.#peak = Math.max(0, this.#peak - 1);
  }

  /** The number expected while `draining` instances are on their way out. */
  count(draining: number): number {
    return Math.max(this.#configured, this.#peak - draining);
  }
}

const WINDOW_MS = 10_000;
const HOLD_MS = 20_000;
const MIN_INSTANCES = 3;

/**
 * Notices that most of a service fails at once. Then the network or the observer is the likelier culprit, and for
 * 20 s nobody is declared down on soft evidence.
 */
export class CorrelatedFailures {
  readonly #suspects = new Map<string, number>();
  #holdUntil = 0;

  /** An instance became suspect. Returns true when this is the one that starts a hold. */
  recordSuspect(id: string, instances: number, now: number): boolean {
    this.#suspects.set(id, now);
    for (const [other, at] of this.#suspects) if (now - at > WINDOW_MS) this.#suspects.delete(other);
    const many = instances >= MIN_INSTANCES && this.#suspects.size * 2 > instances;
    if (!many || now < this.#holdUntil) return false;
    this.#holdUntil = now + HOLD_MS;
    return true;
  }

  /** True while a hold lasts. */
  isHolding(now: number): boolean {
    return now < this.#holdUntil;
  }
}
