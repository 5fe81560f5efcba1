/** Connections to close together: indexes of a list, the second one not included. */
export interface Slot {
  readonly from: number;
  readonly to: number;
}

export interface DrainPlan {
  /** How long upgrades are still taken. */
  readonly acceptMs: number;
  /** One every {@link SLOT_MS}. */
  readonly slots: readonly Slot[];
}

/** Time from one slot to the next. */
export const SLOT_MS = 50;
/** How long peers have for the answer to a close frame. */
export const CLOSE_GRACE_MS = 1_000;

/** Closes per second at most: the reconnects come elsewhere at the same pace. */
const FASTEST_PER_S = 400;
/** Closes per second of a small number: even a few come back one after the other. */
const SLOWEST_PER_S = 10;
const SHORTEST_MS = 5_000;
const LONGEST_MS = 60_000;
/** The part of the deadline that closing may take; the rest is for good-byes and whatever is late. */
const SHARE = 0.7;

/**
 * How a number of connections goes away: over 5 s to 60 s at up to 400 per second, fewer than 50 at ten per second, and
 * faster than all that where the deadline demands it.
 */
export const drainPlan = (
  count: number,
  limits: { readonly acceptMs: number; readonly timeoutMs: number },
): DrainPlan => {
  const acceptMs = Math.min(limits.acceptMs, limits.timeoutMs / 4);
  const paced = (count / FASTEST_PER_S) * 1000;
  const gentle = Math.min(SHORTEST_MS, (count / SLOWEST_PER_S) * 1000);
  const available = Math.max(0, limits.timeoutMs * SHARE - acceptMs);
  const windowMs = Math.min(Math.max(paced, gentle), LONGEST_MS, available);
  return { acceptMs, slots: slotsOf(count, Math.max(1, Math.floor(windowMs / SLOT_MS))) };
};

/** As even as whole connections can be: two slots differ by one at most. */
const slotsOf = (count: number, number: number): Slot[] =>
  Array.from({ length: number }, (_, index) => ({
    from: Math.floor((index * count) / number),
    to: Math.floor(((index + 1) * count) / number),
  }));
