import type { AnyConnection } from './core/connection/any-connection.ts';
import { userKeyOf } from './core/user-key.ts';

/** Numbers about all connections together. */
export interface ConnectionStats {
  readonly users: number;
  readonly sendBufferBytes: number;
  readonly slowConsumers: number;
}

/** Waiting bytes from which a connection counts as slow. */
const SLOW_BYTES = 65_536;

/** Looks at every connection once: for a scrape, not for the way of a message. */
export const connectionStatsOf = (connections: Iterable<AnyConnection>): ConnectionStats => {
  const users = new Set<string>();
  let sendBufferBytes = 0;
  let slowConsumers = 0;
  for (const { identity, lagBytes } of connections) {
    if (identity !== undefined) users.add(userKeyOf(identity));
    sendBufferBytes += lagBytes;
    if (lagBytes > SLOW_BYTES) slowConsumers += 1;
  }
  return { users: users.size, sendBufferBytes, slowConsumers };
};
