import type { SyntheticCheckSnapshot } from './fleet-snapshot.ts';

const FAILING_AFTER = 3;
const MAX_AGE_MS = 60_000;

/** The outcome of one synthetic check. */
export type SyntheticCheckOutcome =
  | { readonly ok: true; readonly durationMs: number }
  | { readonly ok: false; readonly step: string };

/** The state that the leader shares with the other aggregators. */
export interface SharedSyntheticCheck {
  readonly outcome: SyntheticCheckOutcome;
  readonly failures: number;
  readonly durationMs?: number;
}

/** Results of the last synthetic checks. Times in monotonic ms. */
export class SyntheticCheckState {
  #last: { readonly outcome: SyntheticCheckOutcome; readonly at: number } | undefined;
  #failures = 0;
  #durationMs: number | undefined;

  /** Records the outcome of a check; undefined when no outcome is known. */
  recordOutcome(outcome: SyntheticCheckOutcome | undefined, now: number): void {
    this.#last = outcome && { outcome, at: now };
    this.#failures = outcome && !outcome.ok ? this.#failures + 1 : 0;
    if (outcome?.ok) this.#durationMs = outcome.durationMs;
  }

  /** The state to share; undefined when no outcome is known. */
  toShared(): SharedSyntheticCheck | undefined {
    if (!this.#last) return undefined;
    const durationMs = this.#durationMs === undefined ? {} : { durationMs: this.#durationMs };
    return { outcome: this.#last.outcome, failures: this.#failures, ...durationMs };
  }

  /** Replaces the state by that of the leader, which is `ageMs` old. */
  adopt({ outcome, failures, durationMs }: SharedSyntheticCheck, ageMs: number, now: number): void {
    this.#last = { outcome, at: now - ageMs };
    this.#failures = failures;
    this.#durationMs = durationMs;
  }

  /** True after three failures in a row, until the last of them is a minute old. */
  isFailing(now: number): boolean {
    return this.#failures >= FAILING_AFTER && this.#last !== undefined && now - this.#last.at <= MAX_AGE_MS;
  }

  /** Undefined when the last check is older than a minute. */
  snapshot(now: number): SyntheticCheckSnapshot | undefined {
    if (!this.#last || now - this.#last.at > MAX_AGE_MS) return undefined;
    const { outcome, at } = this.#last;
    return {
      status: outcome.ok ? 'ok' : this.isFailing(now) ? 'failing' : 'failed',
      ...(outcome.ok ? {} : { step: outcome.step }),
      ...(this.#durationMs === undefined ? {} : { durationMs: Math.round(this.#durationMs) }),
      ageMs: Math.round(now - at),
    };
  }
}
