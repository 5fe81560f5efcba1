import type { Cluster, Redis } from 'ioredis';

/** Target of commands: one connection, or a cluster client with one connection per node. */
export type RedisLink = Redis | Cluster;

/** Publish and subscribe on a Redis: plain, or sharded on a cluster, where a channel belongs to a slot like a key. */
export interface RedisChannels {
  readonly isSharded: boolean;
  /** The command that scripts publish with; the channel's slot must be that of their keys. */
  readonly publishCommand: 'PUBLISH' | 'SPUBLISH';
  /** The subcommand of PUBSUB that counts the subscribers of a channel. */
  readonly listenersCommand: 'NUMSUB' | 'SHARDNUMSUB';
  /** The event of a connection with a message: channel and bytes. */
  readonly event: 'messageBuffer' | 'smessageBuffer';
  /** Resolves to the number of connections that received the message. */
  publish(lane: RedisLink, channel: string, message: string | Buffer): Promise<number>;
  /** Sharded channels of one call must have one slot. */
  subscribe(link: Redis, names: readonly string[]): Promise<unknown>;
  unsubscribe(link: Redis, names: readonly string[]): Promise<unknown>;
}

/** Channels of a single Redis, also behind sentinels. */
export const plainChannels: RedisChannels = {
  isSharded: false,
  publishCommand: 'PUBLISH',
  listenersCommand: 'NUMSUB',
  event: 'messageBuffer',
  publish: (lane, channel, message) => lane.publish(channel, message),
  subscribe: (link, names) => link.subscribe(...names),
  unsubscribe: (link, names) => link.unsubscribe(...names),
};

/** Channels of a cluster. */
export const shardedChannels: RedisChannels = {
  isSharded: true,
  publishCommand: 'SPUBLISH',
  listenersCommand: 'SHARDNUMSUB',
  event: 'smessageBuffer',
  publish: async (lane, channel, message) => Number(await lane.spublish(channel, message)),
  subscribe: (link, names) => link.ssubscribe(...names),
  unsubscribe: (link, names) => link.sunsubscribe(...names),
};
