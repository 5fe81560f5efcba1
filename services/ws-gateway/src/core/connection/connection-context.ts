import type { Clock } from '@muster/kit/clock';
import type { Random } from '@muster/kit/random';
import type { Subscription } from '../group/subscription.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import type { SubscribeRequest } from './any-connection.ts';
import type { Connection } from './connection.ts';
import type { Ticks } from './ticks.ts';
import type { TimerWheel } from './timer-wheel.ts';

/** What all connections of a gateway share. */
export interface ConnectionContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly wheel: TimerWheel;
  readonly ticks: Ticks;
  readonly limits: ConnectionLimits;
  readonly metrics: EngineMetrics;
  /** A frame came in. */
  receive(connection: Connection, frame: string | Buffer): void;
  /** The connection is over, for whatever reason. Called once. */
  leave(connection: Connection): void;
  /** Puts a connection into a group at the word of a back end. False when it is there already. Throws REDIS_UNAVAILABLE. */
  join(connection: Connection, order: SubscribeRequest): Promise<boolean>;
  /** Ends one membership. */
  drop(subscription: Subscription): void;
  /** Decides the memberships again, after rights have changed. */
  review(connection: Connection): void;
}
