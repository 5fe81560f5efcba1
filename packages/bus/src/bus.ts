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
   * The link was lost and is back, all groups are subscribed again: messages in between may be missing. `isSameLife` when
   * the store is known to have forgotten nothing meanwhile: no server was started again, none took over.
   */
  onReconnected(isSameLife?: boolean): void;
  /** A question or an order to all replicas; what is answered must be something that JSON can say. */
  onAsk?(question: unknown): Promise<unknown>;
}

/** The way to the other replicas. Delivery is at most once; who needs more compares positions. */
export interface Bus extends Streams, AsyncDisposable {
  /**
   * Resolves when the bus has taken the message. Messages of one caller to one group keep their order.
   * With an idempotency key, publishing again within five minutes does nothing.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once or within the command timeout when the bus cannot be reached.
   */
  publish(group: GroupKey, message: BusMessage, idempotencyKey?: string): Promise<void>;
  /**
   * Resolves when every message accepted from now on will be heard here. Calls of one turn become one command.
   * Throws {@link AppError} REDIS_UNAVAILABLE at once when the link is down; the group is then not subscribed.
   */
  subscribe(group: GroupKey): Promise<void>;
  /** Ends a subscription after a second, unless it is wanted again before. Messages may still come. */
  unsubscribe(group: GroupKey): void;
  /**
   * Puts a question to all replicas, this one included. Resolves with all answers, or those that came within the time.
   * Throws {@link AppError} REDIS_UNAVAILABLE when it could not be sent.
   */
  ask(question: unknown, timeoutMs: number): Promise<unknown[]>;
  /** Whether messages can arrive at this moment. */
  isUp(): boolean;
  /** Why messages do not arrive at this moment, as the loopback probe sees it; undefined while it is heard. */
  fault(): Error | undefined;
  /** Groups that the bus delivers to this replica. */
  subscriptions(): number;
}
