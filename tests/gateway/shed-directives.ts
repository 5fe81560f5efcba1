import { registryKeys, type ShedRequest } from '@muster/kit/fleet/heartbeat';
import { Redis } from 'ioredis';

/** Directives of a rebalance, written as the leading aggregator does. */
export interface ShedDirectives extends Disposable {
  readonly redis: Redis;
  readonly keys: ReturnType<typeof registryKeys>;
  /** Id of a running instance. */
  idOf(name: string): Promise<string>;
  /** Moves clients of a gateway; every connection, and each client any number of times, unless stated otherwise. */
  shed(name: string, request?: Partial<Record<keyof ShedRequest, unknown>>): Promise<void>;
}

export const openShedDirectives = (stores: { redisUrl: string; redisPrefix: string }): ShedDirectives => {
  const redis = new Redis(stores.redisUrl);
  const keys = registryKeys(stores.redisPrefix, 'muster');
  let at = Date.now();
  const idOf = async (name: string): Promise<string> => {
    const ids = await redis.zrange(keys.index, '0', '-1');
    const heartbeats = await redis.mget(ids.map((id) => keys.beat(id)));
    return ids[heartbeats.findIndex((text) => text !== null && JSON.parse(text).name === name)] ?? '';
  };
  return {
    redis,
    keys,
    idOf,
    shed: async (name, request = {}) => {
      at += 1;
      const all = { kind: 'shed', at, count: 1_000, perSecond: 1_000, minAgeMs: 0, cooldownMs: 1 };
      await redis.set(keys.directive(await idOf(name)), JSON.stringify({ ...all, ...request }), 'PX', 10_000);
    },
    [Symbol.dispose]: () => redis.disconnect(),
  };
};
