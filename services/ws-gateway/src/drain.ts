import type { Listening } from '@muster/http/listen';
import { type Clock, sleep } from '@muster/kit/clock';
import { CloseCode } from '@muster/protocol/codes';
import type { AnyConnection } from './core/connection/any-connection.ts';
import { MOVE_GRACE_MS, type MovableConnection, type MoveOutcome, Moves } from './moves.ts';

/** Outcome for one connection: that of its move, or cut at the deadline of the drain. */
export type DrainOutcome = MoveOutcome | 'cut';

export type DrainableConnection = MovableConnection & Pick<AnyConnection, 'lagBytes' | 'terminate'>;

export interface GatewayDrainDeps {
  readonly connections: () => Iterable<DrainableConnection>;
  readonly listener: Pick<Listening, 'drain' | 'resume'>;
  readonly clock: Clock;
  /** Time for which upgrades are still accepted, until load balancers have noticed the failing readiness check. */
  readonly acceptMs: number;
  /** Deadline of the whole drain. */
  readonly timeoutMs: number;
  /** Called first: the drain moves all clients, so nothing else may choose some. */
  onStarted(): void;
  onRemaining(count: number): void;
  onDrained(outcome: DrainOutcome): void;
}

/** Moves clients to the other replicas, in slots, so that their new connections are spread over time. */
export interface Drain {
  /** True while upgrades are rejected. */
  isClosed(): boolean;
  /**
   * Moves all clients. Settles when none is left or the signal aborts; the remaining connections are cut then. A
   * second call replaces the first and does not repeat its waits.
   */
  run(signal: AbortSignal): Promise<void>;
  /** Accepts clients again. Connections that are not closed yet stay open. Rejects when the port was taken meanwhile. */
  cancel(): Promise<void>;
}

export const createDrain = (deps: GatewayDrainDeps): Drain => {
  let state: 'open' | 'announced' | 'closed' = 'open';
  let current: AbortController | undefined;

  const restart = (signal: AbortSignal): AbortSignal => {
    current?.abort();
    current = new AbortController();
    return AbortSignal.any([signal, current.signal]);
  };

  return {
    isClosed: () => state === 'closed',
    run: async (deadline) => {
      deps.onStarted();
      const plan = (count: number) => drainPlan(count, deps);
      const stop = restart(deadline);
      const isReplaced = () => stop.aborted && !deadline.aborted;
      if (state !== 'closed') {
        state = 'announced';
        // First of all: with REUSE_PORT the kernel would still give new connections to this process.
        await deps.listener.drain();
        if (isReplaced()) return;
        await sleep(plan(0).acceptMs, stop);
        if (isReplaced()) return;
        state = 'closed';
      }
      await moveAll(deps, plan, stop);
      if (isReplaced()) return;
      cutRemaining(deps);
    },
    cancel: async () => {
      current?.abort();
      state = 'open';
      deps.onRemaining(0);
      await deps.listener.resume();
    },
  };
};

/** Connections with the most pending bytes last: they have the time to read them. */
const byPendingBytes = (connections: Iterable<DrainableConnection>): DrainableConnection[] =>
  [...connections].sort((one, other) => one.lagBytes - other.lagBytes);

const moveAll = async (
  { connections, clock, timeoutMs, onRemaining, onDrained }: GatewayDrainDeps,
  plan: (count: number) => ReturnType<typeof drainPlan>,
  stop: AbortSignal,
): Promise<void> => {
  const leaving = byPendingBytes(connections());
  const { slots } = plan(leaving.length);
  const startedAt = clock.monotonic();
  const moves = new Moves(onDrained);
  const graceMs = Math.min(MOVE_GRACE_MS, timeoutMs * GRACE_SHARE);
  const move = (some: readonly DrainableConnection[]): void => {
    const now = clock.monotonic();
    for (const connection of some) moves.start(connection, now + graceMs);
    moves.settle(now);
  };
  onRemaining(leaving.length);
  for (const [index, { from, to }] of slots.entries()) {
    if (stop.aborted) return;
    move(leaving.slice(from, to));
    onRemaining(leaving.length - to);
    // Relative to the start: a busy machine does not extend the window.
    const pauseMs = startedAt + (index + 1) * SLOT_MS - clock.monotonic();
    if (to < leaving.length) await sleep(Math.max(0, pauseMs), stop);
  }
  // Connections accepted since the list was made.
  move([...connections()]);
  while (moves.size > 0 && !stop.aborted) {
    await sleep(SLOT_MS, stop);
    moves.settle(clock.monotonic());
  }
  if (stop.aborted) return;
  if (leaving.length > 0) await sleep(CLOSE_GRACE_MS, stop);
  for (const connection of leaving) connection.terminate();
};

/** Cuts the connections left at the deadline. */
const cutRemaining = ({ connections, onRemaining, onDrained }: GatewayDrainDeps): void => {
  for (const connection of [...connections()]) {
    connection.close(CloseCode.Shutdown);
    connection.terminate();
    onDrained('cut');
  }
  onRemaining(0);
};

/** Connections to close together: indexes of a list, `to` exclusive. */
export interface Slot {
  readonly from: number;
  readonly to: number;
}

export interface DrainPlan {
  /** Time for which upgrades are still accepted. */
  readonly acceptMs: number;
  /** One every {@link SLOT_MS}. */
  readonly slots: readonly Slot[];
}

/** Interval between slots. */
export const SLOT_MS = 50;
/** Time for peers to answer a close frame. */
export const CLOSE_GRACE_MS = 1_000;

/** Highest rate of closes; the other replicas receive the reconnects at the same rate. */
const FASTEST_PER_S = 400;
/** Rate of closes of a small number of connections. */
const SLOWEST_PER_S = 10;
const MIN_WINDOW_MS = 5_000;
const MAX_WINDOW_MS = 60_000;
/** Share of the deadline for the slots; the rest is for the last moves, close handshakes and delays. */
const SHARE = 0.7;
const GRACE_SHARE = 0.15;

/**
 * Schedule for a number of connections: over 5 s to 60 s at up to 400 per second, fewer than 50 at ten per second, and faster where
 * the deadline requires it.
 */
export const drainPlan = (
  count: number,
  limits: { readonly acceptMs: number; readonly timeoutMs: number },
): DrainPlan => {
  const acceptMs = Math.min(limits.acceptMs, limits.timeoutMs / 4);
  const paced = (count / FASTEST_PER_S) * 1000;
  const gentle = Math.min(MIN_WINDOW_MS, (count / SLOWEST_PER_S) * 1000);
  const available = Math.max(0, limits.timeoutMs * SHARE - acceptMs);
  const windowMs = Math.min(Math.max(paced, gentle), MAX_WINDOW_MS, available);
  return { acceptMs, slots: slotsOf(count, Math.max(1, Math.floor(windowMs / SLOT_MS))) };
};

/** Slots of equal size; two differ by one connection at most. */
const slotsOf = (count: number, number: number): Slot[] =>
  Array.from({ length: number }, (_, index) => ({
    from: Math.floor((index * count) / number),
    to: Math.floor(((index + 1) * count) / number),
  }));
