import type { BusMessage } from './envelope.ts';
import type { GroupKey } from './group-key.ts';
import type { Streams } from './streams.ts';

/** Whom the bus tells. Called in the order in which messages of one group were accepted. */
export interface BusHandlers {
  /** A message of a group that is subscribed here; also of those that this replica published. */
  onMessage(group: GroupKey, message: BusMessage): void;
  /** The link is lost. Told before the first message that comes over another one. */
  onLost?(): void;
  /**
   * The connection is restored and all groups are subscribed again; messages in between may be missing. `isSameLife`: no
   * server restarted or took over meanwhile, so the store lost nothing.
   */
  onReconnected(isSameLife?: boolean): void;
  /** Handles a query to all replicas; the result must be serializable as JSON. */
  onQuery?(question: unknown): Promise<unknown>;
}

/** Connection to the other replicas. Delivery is at most once; consumers that need more compare positions. */
export interface Bus extends Streams, AsyncDisposable {
  /**
   * Resolves when the bus has taken the message. Messages of one caller to one group keep their order.
   * With an idempotency key, publishing again within five minutes does nothing.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once or within the command timeout when the bus cannot be reached.
   */
  publish(group: GroupKey, message: BusMessage, idempotencyKey?: string): Promise<void>;
  /**
   * Resolves when every message published from now on arrives here. Calls of one event loop turn become one command.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once when the connection is down; the group is then not subscribed.
   */
  subscribe(group: GroupKey): Promise<void>;
  /** Unsubscribes after a second, unless the group is subscribed again before. Messages may still arrive. */
  unsubscribe(group: GroupKey): void;
  /**
   * Sends a query to all replicas, this one included. Resolves with the answers that arrive within `timeoutMs`.
   * Throws {@link AppError} REDIS_UNAVAILABLE when it cannot be sent.
   */
  query(question: unknown, timeoutMs: number): Promise<unknown[]>;
  /** True while messages can arrive. */
  isUp(): boolean;
  /** Fault of the loopback probe; undefined while its messages arrive. */
  fault(): Error | undefined;
  /** Number of groups that the bus delivers to this replica. */
  subscriptions(): number;
}
