import { every } from '@muster/kit/clock';
import { readRegistry } from '@muster/kit/fleet/registry';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault, type RedisConnections } from '@muster/kit/redis/connection';
import type { FleetState } from '../core/fleet.ts';

/** What the registry source needs. */
export interface RegistrySourceDeps {
  readonly redis: RedisConnections;
  readonly fleetName: string;
  readonly fleet: Pick<FleetState, 'recordRegistryRead' | 'recordRegistryFailure'>;
  readonly log: Logger;
  readonly intervalMs: number;
}

/** Reads the registry again and again, one reading at a time; disposing stops it. */
export interface RegistryPoller extends Disposable {
  /** Reads once, now. Never rejects. */
  read(): Promise<void>;
}

/** Feeds readings of the registry into the model. One log line when it gets lost, one when it is back. */
export const startRegistryPoller = (deps: RegistrySourceDeps): RegistryPoller => {
  const { redis, fleetName, fleet, log } = deps;
  let reading: Promise<void> | undefined;
  let lost = false;

  const readOnce = async (): Promise<void> => {
    try {
      const snapshot = await redis.retry((lane) => readRegistry(lane, redis.prefix, fleetName));
      fleet.recordRegistryRead({ now: snapshot.now, heartbeats: snapshot.beats, ids: new Set(snapshot.ids) });
      if (lost) log.info({}, 'registry.reachable');
      lost = false;
    } catch (error) {
      fleet.recordRegistryFailure();
      if (!lost) log.warn({ error }, isRedisFault(error) ? 'registry.unreachable' : 'registry.read_failed');
      lost = true;
    }
  };
  const read = (): Promise<void> => {
    reading ??= readOnce().finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const stop = every(deps.intervalMs, () => void read());
  return { read, [Symbol.dispose]: stop };
};
