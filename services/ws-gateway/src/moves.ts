import { CloseCode } from '@muster/protocol/codes';
import type { AnyConnection } from './core/connection/any-connection.ts';

/**
 * Outcome of a move: the client opened another connection and closed the present connection; it cannot do that and was closed with 3001; or it was
 * requested to and did not in time, and was closed with 3001.
 */
export type MoveOutcome = 'moved' | 'closed' | 'late';

export type MovableConnection = Pick<AnyConnection, 'isClosed' | 'requestMove' | 'close'>;

/** Time in which a client opens its next connection. Two round trips and a handshake; longer than any queue before it lasts. */
export const MOVE_GRACE_MS = 5_000;

/** Moves of clients to other gateways, of a drain or a rebalance. */
export class Moves {
  readonly #onOutcome: (outcome: MoveOutcome) => void;
  /** Requested moves in the order of their deadlines. */
  readonly #requested = new Map<MovableConnection, number>();

  constructor(onOutcome: (outcome: MoveOutcome) => void) {
    this.#onOutcome = onOutcome;
  }

  /** Clients that have not left yet. */
  get size(): number {
    return this.#requested.size;
  }

  /** Requests a client to move until `deadline`, or closes it when it cannot open the next connection first. */
  start(connection: MovableConnection, deadline: number): void {
    if (connection.isClosed || this.#requested.has(connection)) return;
    if (connection.requestMove()) {
      this.#requested.set(connection, deadline);
      return;
    }
    connection.close(CloseCode.Shutdown);
    this.#onOutcome('closed');
  }

  /** Counts the clients that have left, and closes those whose deadline has passed. */
  settle(now: number): void {
    for (const [connection, deadline] of this.#requested) {
      if (!connection.isClosed && now < deadline) continue;
      this.#requested.delete(connection);
      this.#onOutcome(connection.isClosed ? 'moved' : 'late');
      connection.close(CloseCode.Shutdown);
    }
  }
}
