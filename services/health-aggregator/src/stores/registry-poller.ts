import { every } from '@muster/kit/clock';
import { readRegistry } from '@muster/kit/fleet/registry';
import type { Logger } from '@muster/kit/logger';
import { oneAtATime } from '@muster/kit/periodic-job';
import { isRedisFault, type RedisConnections } from '@muster/kit/redis/connection';
import type { FleetState } from '../core/fleet.ts';

interface RegistryPollerDeps {
  readonly redis: RedisConnections;
  readonly fleetName: string;
  readonly fleet: Pick<FleetState, 'recordRegistryRead' | 'recordRegistryFailure'>;
  readonly log: Logger;
  readonly intervalMs: number;
}

/** Reads the registry periodically into the model. Logs once when it becomes unreachable, and once when it is reachable again. */
export const startRegistryPoller = (deps: RegistryPollerDeps) => {
  const { redis, fleetName, fleet, log } = deps;
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
  const read = oneAtATime(readOnce);
  const stop = every(deps.intervalMs, () => void read());
  return {
    /** Reads at once, or joins the read in progress. Never rejects. */
    read,
    [Symbol.dispose]: stop,
  };
};
