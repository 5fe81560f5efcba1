import type { SyntheticCheckSnapshot } from './fleet-snapshot.ts';

const FAILING_AFTER = 3;
const FORGET_MS = 60_000;

/** The outcome of one journey. */
export type SyntheticCheckOutcome =
  | { readonly ok: true; readonly durationMs: number }
  | { readonly ok: false; readonly step: string };

/** What one aggregator tells the others about its journeys. */
export interface SharedSyntheticCheck {
  readonly outcome: SyntheticCheckOutcome;
  readonly failures: number;
  readonly durationMs?: number;
}

/** Remembers the last journeys. Times are monotonic ms. */
export class SyntheticCheckState {
  #last: { readonly outcome: SyntheticCheckOutcome; readonly at: number } | undefined;
  #failures = 0;
  #durationMs: number | undefined;

  /** Takes the end of a journey; undefined when this observer does not travel any more. */
  recordOutcome(outcome: SyntheticCheckOutcome | undefined, now: number): void {
    this.#last = outcome && { outcome, at: now };
    this.#failures = outcome && !outcome.ok ? this.#failures + 1 : 0;
    if (outcome?.ok) this.#durationMs = outcome.durationMs;
  }

  /** What the others should know; undefined when there is nothing. */
  toShared(): SharedSyntheticCheck | undefined {
    if (!this.#last) return undefined;
    const durationMs = this.#durationMs === undefined ? {} : { durationMs: this.#durationMs };
    return { outcome: this.#last.outcome, failures: this.#failures, ...durationMs };
  }

  /** Takes over what the one that travels has told, `ageMs` ago. */
  adopt({ outcome, failures, durationMs }: SharedSyntheticCheck, ageMs: number, now: number): void {
    this.#last = { outcome, at: now - ageMs };
    this.#failures = failures;
    this.#durationMs = durationMs;
  }

  /** True after three failures in a row, while that is news. */
  isFailing(now: number): boolean {
    return this.#failures >= FAILING_AFTER && this.#last !== undefined && now - this.#last.at <= FORGET_MS;
  }

  /** What is known; nothing when the last journey is older than a minute. */
  snapshot(now: number): SyntheticCheckSnapshot | undefined {
    if (!this.#last || now - this.#last.at > FORGET_MS) return undefined;
    const { outcome, at } = this.#last;
    return {
      status: outcome.ok ? 'ok' : this.isFailing(now) ? 'failing' : 'failed',
      ...(outcome.ok ? {} : { step: outcome.step }),
      ...(this.#durationMs === undefined ? {} : { durationMs: Math.round(this.#durationMs) }),
      ageMs: Math.round(now - at),
    };
  }
}
