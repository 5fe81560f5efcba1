/** What one client may do per time: a steady rate, and a burst after a rest. */
export interface Rate {
  /** Per second; 0 for no limit. */
  readonly perSecond: number;
  readonly burst: number;
}

/** Refusals in a row after which a client is closed. */
export const MAX_REFUSALS = 500;

/** A bucket of tokens that fills steadily. One per connection. */
export class TokenBucket {
  #tokens: number;
  #filledAt: number;
  /** Refusals since the last token was given. */
  refusals = 0;

  constructor(rate: Rate, now: number) {
    this.#tokens = rate.burst;
    this.#filledAt = now;
  }

  /** False when the client must wait. `now` in monotonic ms. */
  take({ perSecond, burst }: Rate, now: number, cost = 1): boolean {
    if (perSecond === 0) return true;
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    if (this.#tokens < cost) {
      this.refusals += 1;
      return false;
    }
    this.#tokens -= cost;
    this.refusals = 0;
    return true;
  }
}
