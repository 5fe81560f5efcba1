import { createBreaker } from '@muster/kit/circuit-breaker';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { createTouchBuffer, createTouchThrottle } from '@muster/session/activity';
import { createSessionPresence } from '@muster/session/session-presence';
import { createSnapshotStore } from '@muster/session/session-snapshot';
import type { SessionServiceConfig } from './config.ts';
import { createActivityFlusher } from './core/activity-flusher.ts';
import { guardSnapshots } from './core/guarded-snapshots.ts';
import { createIpAnonymizer } from './core/ip-anonymization.ts';
import type { KeyRing } from './core/key-ring.ts';
import { createLatestUses } from './core/latest-use.ts';
import { createSessionMetrics } from './metrics.ts';
import { createAddressStore } from './postgres/address-store.ts';
import { createAdminStore } from './postgres/admin-store.ts';
import type { Postgres } from './postgres/pool.ts';
import { createKeyStore } from './postgres/queries/api-keys.ts';
import { createOutboxStore } from './postgres/queries/outbox.ts';
import { createChangeStore, createSessionStore } from './postgres/queries.ts';
import { createSweepStore } from './postgres/sweep-store.ts';

/** The connections that everything stands on. */
export interface SessionStores {
  readonly redis: RedisConnections;
  readonly postgres: Postgres;
  readonly metrics: Metrics;
  readonly ring: KeyRing;
}

/** What the rules are wired from: the world, the stores behind their ports, the keys, the instruments. */
export type Dependencies = ReturnType<typeof openDependencies>;

const CACHE_DEADLINE_MS = 250;

/** Puts the stores behind the ports of the core. What runs in the background goes on the stack. */
export const openDependencies = (
  config: SessionServiceConfig,
  world: Runtime,
  stores: SessionStores,
  stack: AsyncDisposableStack,
) => {
  const { clock, log } = world;
  const { redis, postgres, metrics } = stores;
  const instruments = createSessionMetrics(metrics);
  const cache = createSnapshotStore({ redis, clock });
  const breaker = createBreaker({ clock, what: 'the session cache', deadlineMs: CACHE_DEADLINE_MS });
  const sweepStore = createSweepStore(postgres);
  const toucher = stack.use(
    createActivityFlusher({
      now: () => clock.now(),
      log,
      throttle: createTouchThrottle({ clock }),
      buffer: createTouchBuffer({ redis }),
      store: sweepStore,
      intervalMs: config.sweep.intervalMs,
    }),
  );
  const presence = createSessionPresence({ redis, clock, fleet: config.common.fleetName });
  const latestUses = createLatestUses(toucher, presence);
  metrics.onCollect(() => instruments.buffered.set(toucher.size()));
  return {
    config,
    ...world,
    ...stores,
    instruments,
    signer: stores.ring.signer,
    keys: stores.ring.keys,
    addresses: createIpAnonymizer(config.ipMode, stores.ring.keys),
    addressStore: createAddressStore(postgres),
    store: {
      ...createSessionStore(postgres, latestUses),
      ...createChangeStore(postgres, latestUses),
    },
    sweepStore,
    adminStore: createAdminStore(postgres),
    keyStore: createKeyStore(postgres),
    outbox: createOutboxStore(postgres),
    /** Straight to Redis, for what must arrive. */
    cache,
    /** Behind a breaker, for what may be missed. */
    snapshots: guardSnapshots(cache, breaker),
    toucher,
    presence,
    latestUses,
  };
};
