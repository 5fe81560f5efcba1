const PEAK_WINDOW_MS = 15 * 60_000;

/**
 * Number of instances a service is expected to have: the configured number, or the most that served at once during the last
 * 15 minutes. An orderly leave lowers the peak, a crash does not: scaling in is not a loss.
 */
export class ExpectedInstances {
  readonly #configured: number;
  #peak = 0;
  #peakAt = 0;

  constructor(configured: number) {
    this.#configured = configured;
  }

  recordServing(count: number, now: number): void {
    if (count >= this.#peak || now - this.#peakAt > PEAK_WINDOW_MS) {
      this.#peak = count;
      this.#peakAt = now;
    }
  }

  /** Records the orderly leave of one instance. */
  recordLeave(): void {
    this.#peak = Math.max(0, this.#peak - 1);
  }

  /** The expected number while `draining` instances leave. */
  count(draining: number): number {
    return Math.max(this.#configured, this.#peak - draining);
  }
}

const WINDOW_MS = 10_000;
const HOLD_MS = 20_000;
const MIN_INSTANCES = 3;

/**
 * Detects that most instances of a service (of at least three) become suspect within 10 s. The network or this observer is then
 * the likely cause, so for 20 s no instance is declared down on soft evidence.
 */
export class CorrelatedFailures {
  readonly #suspects = new Map<string, number>();
  #holdUntil = 0;

  /** Records a transition to suspect. True when it starts a hold. */
  recordSuspect(id: string, instances: number, now: number): boolean {
    this.#suspects.set(id, now);
    for (const [other, at] of this.#suspects) if (now - at > WINDOW_MS) this.#suspects.delete(other);
    const isMajority = instances >= MIN_INSTANCES && this.#suspects.size * 2 > instances;
    if (!isMajority || now < this.#holdUntil) return false;
    this.#holdUntil = now + HOLD_MS;
    return true;
  }

  isHolding(now: number): boolean {
    return now < this.#holdUntil;
  }
}
