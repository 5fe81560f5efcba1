const FAILURE_PENALTY = 1_000;
const HALF_LIFE_MS = 5 * 60_000;
const FLAPPING_ABOVE = 3_000;
const STEADY_BELOW = 1_000;
const MAX_FLAPPING_MS = 15 * 60_000;
const FORGET_BELOW = 10;

/**
 * Flap damping as in routing (RFC 2439): each failure adds a penalty that halves every five minutes. An instance with a high
 * penalty is flapping until the penalty has decayed, for 15 minutes at most. Times in monotonic ms.
 */
export class FlapDamping {
  #penalty = 0;
  #at = 0;
  #flappingSince: number | undefined;

  recordFailure(now: number): void {
    this.#penalty = this.#penaltyAt(now) + FAILURE_PENALTY;
    this.#at = now;
    if (this.#penalty > FLAPPING_ABOVE) this.#flappingSince ??= now;
  }

  isFlapping(now: number): boolean {
    if (this.#flappingSince === undefined) return false;
    if (this.#penaltyAt(now) < STEADY_BELOW || now - this.#flappingSince > MAX_FLAPPING_MS) {
      this.#flappingSince = undefined;
      // The next failure starts without a penalty.
      this.#penalty = 0;
    }
    return this.#flappingSince !== undefined;
  }

  /** True when the penalty has decayed so far that the object can be dropped. */
  isForgettable(now: number): boolean {
    return !this.isFlapping(now) && this.#penaltyAt(now) < FORGET_BELOW;
  }

  #penaltyAt(now: number): number {
    return this.#penalty * 0.5 ** ((now - this.#at) / HALF_LIFE_MS);
  }
}
