import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Cluster, type ClusterOptions, type Redis, type RedisOptions } from 'ioredis';
import type { RedisAddress, RedisNode } from './address.ts';

/** Which node of a cluster has what. */
export interface Shards {
  /** The node that keeps a key, as `host:port`; undefined while nobody knows. */
  ownerOf(key: string): string | undefined;
  ownerOfSlot(slot: number): string | undefined;
  /** Asks the cluster again. Resolves also when it gave no answer. */
  refresh(): Promise<void>;
  /** Told after every answer of the cluster; returns how to stop that. */
  onRefresh(listener: () => void): () => void;
  /** A connection of its own to one node, for subscriptions. It reconnects for ever, to that node. */
  open(purpose: string, node: string): Redis;
  /** Ends such a connection for good. */
  close(link: Redis): void;
}

/** How long a connection may take to end politely. */
const DISCONNECT_TIMEOUT_MS = 2_000;
/** Time between two questions where the slots are. */
const REFRESH_MS = 2_000;
/** A key that is just being moved is tried again after this time. */
const TRY_AGAIN_MS = 50;

/** One command lane into a cluster: a connection to every node. Nothing is queued, and nothing is sent twice. */
export const createClusterLane = (
  { nodes }: RedisAddress & { is: 'cluster' },
  redisOptions: Omit<NonNullable<ClusterOptions['redisOptions']>, 'replyMapping'>,
): Cluster =>
  new Cluster([...nodes], {
    redisOptions: { ...redisOptions, replyMapping: 'legacy' },
    lazyConnect: true,
    enableOfflineQueue: false,
    // Nobody knows whether a command whose connection broke was executed.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    slotsRefreshTimeout: redisOptions.connectTimeout ?? 1_000,
    slotsRefreshInterval: REFRESH_MS,
    clusterRetryStrategy: (times) => Math.min(50 * 2 ** times, 2_000) + Math.random() * 200,
  });

/** What a lane knows of the slots. */
export const createShards = (
  lane: Cluster,
  { nodes: [first] }: RedisAddress & { is: 'cluster' },
  links: Pick<Shards, 'open' | 'close'>,
): Shards & { readonly follow: (key: string) => RedisOptions } => {
  const fallback = `${first?.host}:${first?.port}`;
  const ownerOf = (key: string): string | undefined => lane.slots[slotOf(key)]?.[0];
  const refresh = (): Promise<void> => new Promise((resolve) => lane.refreshSlotsCache(() => resolve()));
  return {
    ...links,
    ownerOf,
    refresh,
    ownerOfSlot: (slot) => lane.slots[slot]?.[0],
    onRefresh: (listener) => {
      lane.on('refresh', listener);
      return () => void lane.off('refresh', listener);
    },
    follow: (key) => ({ Connector: connectorTo(() => ownerOf(key) ?? fallback, refresh) }),
  };
};

/** `host:port` as ioredis writes it; the port stands behind the last colon, also of an IPv6 address. */
export const parseNodeName = (name: string): RedisNode => {
  const colon = name.lastIndexOf(':');
  return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)) };
};

/** Connects to whoever owns a key at the time of connecting. Whoever is asked and does not own it says so. */
const connectorTo = (owner: () => string, refresh: () => Promise<void>) =>
  class OwnerConnector extends AbstractConnector {
    readonly #tls: RedisOptions['tls'];

    constructor(options: unknown) {
      const { tls, disconnectTimeout } = options as RedisOptions;
      super(disconnectTimeout ?? DISCONNECT_TIMEOUT_MS);
      this.#tls = tls;
    }

    override async connect(): Promise<ReturnType<typeof connectTcp>> {
      this.connecting = true;
      await refresh();
      if (!this.connecting) throw new Error('Connection is closed.');
      const { host, port } = parseNodeName(owner());
      const stream =
        this.#tls === undefined ? connectTcp({ host, port }) : connectTls({ ...this.#tls, host, port });
      this.stream = stream;
      stream.once('error', (error) => {
        this.firstError = error;
      });
      return stream;
    }
  };

/** Slots of a Redis Cluster. */
export const SLOTS = 16_384;

const POLYNOMIAL = 0x1021;

/** CRC-16/XMODEM of every byte, as the cluster specification of Redis wants it. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  return crc;
});

/** The slot of a key or sharded channel: that of what stands in its first pair of braces, if anything does. */
export const slotOf = (key: string): number => {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const tag = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(tag)) crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  return crc % SLOTS;
};
