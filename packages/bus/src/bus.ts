import type { BusMessage } from './envelope.ts';
import type { GroupKey } from './group-key.ts';
import type { Streams } from './streams.ts';

/** Callbacks of a bus. Messages of one group are passed in the order in which Redis accepted them. */
export interface BusHandlers {
  /** Called for every message of a subscribed group, those that this replica published included. */
  onMessage(group: GroupKey, message: BusMessage): void;
  /** Called when the connection is lost, before the first message of the next connection. */
  onLost?(): void;
  /**
   * Called when all groups are subscribed again; messages of the outage are missing. `isSameServer`: no server restarted or
   * was replaced, so the store lost nothing.
   */
  onReconnected(isSameServer?: boolean): void;
  /** Answers a query to all replicas; the result must be serializable as JSON. */
  onQuery?(query: unknown): Promise<unknown>;
}

/** Connection to the other replicas. Delivery is at most once; consumers that need more compare positions. */
export interface Bus extends Streams, AsyncDisposable {
  /**
   * Resolves when Redis has accepted the message. Messages of one caller to one group keep their order.
   * A second message with the same idempotency key within five minutes is not published.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once or within the command timeout when the bus cannot be reached.
   */
  publish(group: GroupKey, message: BusMessage, idempotencyKey?: string): Promise<void>;
  /**
   * Resolves when every message published from now on is received. Calls of one event loop turn become one command.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once when the connection is down; the group is then not subscribed.
   */
  subscribe(group: GroupKey): Promise<void>;
  /** Unsubscribes after a second, unless the group is subscribed again before. Messages may still arrive. */
  unsubscribe(group: GroupKey): void;
  /**
   * Sends a query to all replicas, this replica included. Resolves with the answers that arrive within `timeoutMs`.
   * Throws {@link AppError} REDIS_UNAVAILABLE when it cannot be sent.
   */
  query(query: unknown, timeoutMs: number): Promise<unknown[]>;
  /** True while the connection is ready to receive. */
  isUp(): boolean;
  /** Fault of the loopback probe; undefined while its messages are received. */
  fault(): Error | undefined;
  /** Number of subscribed groups. */
  subscriptions(): number;
}
