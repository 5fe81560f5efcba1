import { type Clock, sleep } from '@muster/kit/clock';
import { CloseCode } from '@muster/protocol/codes';
import type { AnyConnection } from './core/connection/any-connection.ts';
import { CLOSE_GRACE_MS, drainPlan, SLOT_MS } from './drain-plan.ts';

/** How one connection went away: told to come back elsewhere, or cut because it did not answer. */
export type DrainOutcome = 'closed' | 'cut';

/** What a drain knows of a connection. */
export type DrainableConnection = Pick<AnyConnection, 'lagBytes' | 'close' | 'terminate'>;

export interface GatewayDrainDeps {
  readonly connections: () => Iterable<DrainableConnection>;
  readonly clock: Clock;
  /** How long upgrades are still taken, because load balancers learn late that we are not ready. */
  readonly acceptMs: number;
  /** The whole drain ends within this time. */
  readonly timeoutMs: number;
  onRemaining(count: number): void;
  onDeparture(how: DrainOutcome): void;
}

/** Hands clients over to the other replicas: closed with 3001 in slots, so that their reconnects come as a stream. */
export interface Drain {
  /** Whether upgrades are refused by now. */
  isClosed(): boolean;
  /**
   * Sends everybody away, and settles when nobody is left or the signal aborts; whoever is there then is cut. Begun a
   * second time it takes over from the first: what has been waited for is not waited for again.
   */
  run(signal: AbortSignal): Promise<void>;
  /** Takes clients again. Whoever has not been told to go stays. */
  cancel(): void;
}

export const createDrain = (deps: GatewayDrainDeps): Drain => {
  let state: 'open' | 'noticed' | 'closed' = 'open';
  let current: AbortController | undefined;

  const begin = (signal: AbortSignal): AbortSignal => {
    current?.abort();
    current = new AbortController();
    return AbortSignal.any([signal, current.signal]);
  };

  return {
    isClosed: () => state === 'closed',
    run: async (deadline) => {
      const plan = (count: number) => drainPlan(count, deps);
      const stop = begin(deadline);
      const isReplaced = () => stop.aborted && !deadline.aborted;
      if (state !== 'closed') {
        state = 'noticed';
        await sleep(plan(0).acceptMs, stop);
        if (isReplaced()) return;
        state = 'closed';
      }
      await sendAway(deps, plan, stop);
      if (isReplaced()) return;
      cutRest(deps);
    },
    cancel: () => {
      current?.abort();
      state = 'open';
      deps.onRemaining(0);
    },
  };
};

/** Those for whom most is waiting go last: they have the time to read it. */
const inOrder = (connections: Iterable<DrainableConnection>): DrainableConnection[] =>
  [...connections].sort((one, other) => one.lagBytes - other.lagBytes);

const sendAway = async (
  { connections, clock, onRemaining, onDeparture }: GatewayDrainDeps,
  plan: (count: number) => ReturnType<typeof drainPlan>,
  stop: AbortSignal,
): Promise<void> => {
  const leaving = inOrder(connections());
  const { slots } = plan(leaving.length);
  const begun = clock.monotonic();
  const send = (some: readonly DrainableConnection[]): void => {
    for (const connection of some) {
      connection.close(CloseCode.Shutdown);
      onDeparture('closed');
    }
  };
  onRemaining(leaving.length);
  for (const [index, { from, to }] of slots.entries()) {
    if (stop.aborted) return;
    send(leaving.slice(from, to));
    onRemaining(leaving.length - to);
    // Against the clock, so that a busy machine does not stretch the window.
    const pauseMs = begun + (index + 1) * SLOT_MS - clock.monotonic();
    if (to < leaving.length) await sleep(Math.max(0, pauseMs), stop);
  }
  // Whoever was let in while the list was made.
  send([...connections()]);
  if (leaving.length > 0) await sleep(CLOSE_GRACE_MS, stop);
  for (const connection of leaving) connection.terminate();
};

/** The deadline came first. */
const cutRest = ({ connections, onRemaining, onDeparture }: GatewayDrainDeps): void => {
  for (const connection of [...connections()]) {
    connection.close(CloseCode.Shutdown);
    connection.terminate();
    onDeparture('cut');
  }
  onRemaining(0);
};
