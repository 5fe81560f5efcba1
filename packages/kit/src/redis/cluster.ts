import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Cluster, type ClusterOptions, type Redis, type RedisOptions } from 'ioredis';
import type { RedisAddress, RedisNode } from './address.ts';

/** Owners of the slots of a cluster. */
export interface Shards {
  /** The node of a key, as `host:port`; undefined while it is unknown. */
  ownerOf(key: string): string | undefined;
  ownerOfSlot(slot: number): string | undefined;
  /** Queries the cluster again. Resolves also without an answer. */
  refresh(): Promise<void>;
  /** Called after every answer of the cluster; returns the unsubscribe function. */
  onRefresh(listener: () => void): () => void;
  /** A dedicated connection to one node, for subscriptions. It reconnects to that node without limit. */
  open(purpose: string, node: string): Redis;
  /** Closes such a connection. */
  close(link: Redis): void;
}

/** Timeout of an orderly close. */
const DISCONNECT_TIMEOUT_MS = 2_000;
/** Interval of slot refreshes. */
const REFRESH_MS = 2_000;
/** Pause before a command for a key that is being migrated is sent again. */
const TRY_AGAIN_MS = 50;

/** A command connection to a cluster, with a connection per node. Nothing is queued, nothing is sent twice. */
export const createClusterLane = (
  { nodes }: RedisAddress & { is: 'cluster' },
  redisOptions: Omit<NonNullable<ClusterOptions['redisOptions']>, 'replyMapping'>,
): Cluster =>
  new Cluster([...nodes], {
    redisOptions: { ...redisOptions, replyMapping: 'legacy' },
    lazyConnect: true,
    enableOfflineQueue: false,
    // A command whose connection broke may have been executed.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    slotsRefreshTimeout: redisOptions.connectTimeout ?? 1_000,
    slotsRefreshInterval: REFRESH_MS,
    clusterRetryStrategy: (times) => Math.min(50 * 2 ** times, 2_000) + Math.random() * 200,
  });

/** Slot owners as a command connection has them. */
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

/** Parses `host:port` as ioredis writes it; the port follows the last colon, also for an IPv6 address. */
export const parseNodeName = (name: string): RedisNode => {
  const colon = name.lastIndexOf(':');
  return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)) };
};

/** Connects to the owner of a key at the time of the connection. A node that is not the owner answers MOVED. */
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
      const stream = this.#tls === undefined ? connectTcp({ host, port }) : connectTls({ ...this.#tls, host, port });
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

/** CRC-16/XMODEM of every byte (Redis cluster specification). */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  return crc;
});

/** The slot of a key or sharded channel: that of its hash tag, the text in the first pair of braces, if it is not empty. */
export const slotOf = (key: string): number => {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const tag = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(tag)) crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  return crc % SLOTS;
};
