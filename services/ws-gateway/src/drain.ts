import { sleep } from '@muster/kit/clock';
import { CloseCode } from '@muster/protocol/codes';
import type { AnyConnection } from './core/connections.ts';
import type { Engine } from './core/engine.ts';

export interface DrainDeps {
  readonly engine: Engine;
  /** Longest time in ms over which the closes are spread. */
  readonly windowMs: number;
  onRemaining(count: number): void;
}

/** Closes per second; the reconnects arrive elsewhere at the same pace. */
const PACE_PER_S = 400;
const SLOT_MS = 20;
/** How long the peers may take to answer the last close frames. */
const GOODBYE_MS = 1_000;

/**
 * Tells every client to go (3001), evenly over a window that grows with their number, and cuts what is left when the
 * signal aborts. Clients come back with a back-off of their own, so replicas beside us see a stream, not a wave.
 */
export const drainConnections = async (
  { engine, windowMs, onRemaining }: DrainDeps,
  signal: AbortSignal,
): Promise<void> => {
  const leaving: AnyConnection[] = [...engine.connections()];
  const slots = Math.max(1, Math.floor(Math.min(windowMs, (leaving.length / PACE_PER_S) * 1000) / SLOT_MS));
  const perSlot = Math.ceil(leaving.length / slots);
  for (let from = 0; from < leaving.length && !signal.aborted; from += perSlot) {
    for (const connection of leaving.slice(from, from + perSlot)) connection.close(CloseCode.Shutdown);
    onRemaining(leaving.length - Math.min(from + perSlot, leaving.length));
    if (from + perSlot < leaving.length) await sleep(SLOT_MS, signal);
  }
  // Whoever slipped in after the list was made.
  for (const connection of [...engine.connections()]) connection.close(CloseCode.Shutdown);
  if (leaving.length > 0) await sleep(GOODBYE_MS, signal);
  for (const connection of leaving) connection.terminate();
  onRemaining(0);
};
