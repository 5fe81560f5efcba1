const FALL_PENALTY = 1_000;
const HALF_LIFE_MS = 5 * 60_000;
const FLAPPING_ABOVE = 3_000;
const STEADY_BELOW = 1_000;
const LONGEST_MS = 15 * 60_000;
const FORGET_BELOW = 10;

/**
 * Flap damping as in routing: every fall adds a penalty that halves each five minutes. Who falls again and again is
 * flapping until the penalty has faded, for fifteen minutes at most. Times are monotonic ms.
 */
export class FlapDamping {
  #penalty = 0;
  #at = 0;
  #flappingSince: number | undefined;

  /** It went down once more. */
  recordFailure(now: number): void {
    this.#penalty = this.#faded(now) + FALL_PENALTY;
    this.#at = now;
    if (this.#penalty > FLAPPING_ABOVE) this.#flappingSince ??= now;
  }

  /** True while its ups and downs are no news. */
  isFlapping(now: number): boolean {
    if (this.#flappingSince === undefined) return false;
    if (this.#faded(now) < STEADY_BELOW || now - this.#flappingSince > LONGEST_MS) {
      this.#flappingSince = undefined;
      // What is over is over: the next fall starts from nothing.
      this.#penalty = 0;
    }
    return this.#flappingSince !== undefined;
  }

  /** True when nothing of it is worth remembering. */
  isForgettable(now: number): boolean {
    return !this.isFlapping(now) && this.#faded(now) < FORGET_BELOW;
  }

  #faded(now: number): number {
    return this.#penalty * 0.5 ** ((now - this.#at) / HALF_LIFE_MS);
  }
}
