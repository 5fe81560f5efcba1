import type { Metrics } from '@muster/kit/metrics';
import type { Postgres } from '@muster/kit/postgres';
import type { RedisConnections } from '@muster/kit/redis';
import type { World } from '@muster/kit/world';
import { beatSessionBus, emitSessionChange } from '@muster/session/events';
import { createSnapshotStore } from '@muster/session/snapshot';
import { createTokenSigner, type SessionId } from '@muster/session/token';
import type { SessionServiceConfig } from './config.ts';
import { type AuthenticateDeps, judge } from './core/authenticate.ts';
import { createBreaker } from './core/breaker.ts';
import { createChecker } from './core/checker.ts';
import { createDerivedKeys } from './core/derived-keys.ts';
import { guardSnapshots } from './core/guarded-snapshots.ts';
import { createHeartbeat, type Heartbeat } from './core/heartbeat.ts';
import { createLoader } from './core/loader.ts';
import { createPropagation } from './core/propagation.ts';
import { createRelay, type Relay } from './core/relay.ts';
import { createSessions } from './core/sessions.ts';
import type { HttpContext } from './http/context.ts';
import type { CheckedState } from './http/internal-routes.ts';
import { createRateLimits } from './http/rate-limits.ts';
import { createSessionMetrics, type SessionMetrics } from './metrics.ts';
import { createOutboxStore } from './store/outbox-store.ts';
import { createSessionStore } from './store/sessions-store.ts';

const CACHE_DEADLINE_MS = 250;
const REPLAY_MS = 15 * 60_000;
const REPLAY_LIMIT = 50_000;
const RESERVED_CONNECTIONS = 3;

/** The core of a running service, without its ports to the network. */
export interface Engine {
  readonly context: HttpContext;
  readonly relay: Relay;
  readonly heartbeat: Heartbeat;
  check(ids: readonly SessionId[]): Promise<CheckedState[]>;
  endedWithin(ms: number): Promise<{ id: SessionId; why: string }[]>;
  outboxAgeMs(): Promise<number>;
}

interface Stores {
  readonly redis: RedisConnections;
  readonly postgres: Postgres;
  readonly metrics: Metrics;
}

/** Wires rules to stores by plain arguments; what runs in the background goes on the stack. */
export const wire = (
  config: SessionServiceConfig,
  world: World,
  stores: Stores,
  stack: AsyncDisposableStack,
): Engine => {
  const { clock, random, log } = world;
  const instruments = createSessionMetrics(stores.metrics);
  const signer = createTokenSigner(config.sessionSecrets);
  const store = createSessionStore(stores.postgres);
  const outbox = createOutboxStore(stores.postgres);
  const cache = createSnapshotStore({ redis: stores.redis, clock });
  const breaker = createBreaker({ clock, what: 'the session cache', deadlineMs: CACHE_DEADLINE_MS });
  const snapshots = guardSnapshots(cache, breaker);
  const propagation = createPropagation({
    clock,
    log,
    store,
    snapshots: cache,
    outbox,
    emit: (change) => emitSessionChange(stores, change),
    onDelivered: (ms) => instruments.propagationSeconds.observe(ms / 1000),
  });
  const checking: AuthenticateDeps = {
    clock,
    log,
    signer,
    snapshots,
    loader: createLoader({
      findMany: (ids) => store.findMany(ids),
      maxConcurrent: Math.max(1, config.postgres.poolSize - RESERVED_CONNECTIONS),
    }),
    pendingTouch: () => Promise.resolve(undefined),
    onKey: (keyIndex) => instruments.verified.inc({ key: keyIndex ?? 'none' }),
    onStaleAccepted: () => instruments.staleAccepted.inc(),
  };
  const relay = stack.use(createRelay({ outbox, propagation, log, pollMs: config.outboxPollMs }));
  const endedWithin = (ms: number) => store.endedWithin(ms, REPLAY_LIMIT);
  const heartbeat = stack.use(
    createHeartbeat({
      clock,
      log,
      snapshots: cache,
      beat: () => beatSessionBus(stores, hex(random.bytes(8)), clock.now()),
      ended: () => endedWithin(REPLAY_MS),
      emit: (ids, why) => emitSessionChange(stores, { k: 'end', ids, why, at: clock.now() }),
    }),
  );
  return {
    relay,
    heartbeat,
    context: {
      ...parts(config, world, instruments),
      config,
      signer,
      sessions: createSessions({
        clock,
        random,
        log,
        signer,
        store,
        snapshots,
        propagation,
        onOpened: (kind) => instruments.created.inc({ kind }),
        onEnded: (reason, count) => instruments.revoked.inc({ reason }, count),
      }),
      authenticate: createChecker({ ...checking, onChecked: record(instruments) }),
    },
    check: (ids) => checkMany(checking, (wanted) => store.findMany(wanted), ids),
    endedWithin,
    outboxAgeMs: () => outbox.oldestMs(),
  };
};

/** What the routes need besides sessions. */
const parts = (config: SessionServiceConfig, { clock, random }: World, instruments: SessionMetrics) => ({
  clock,
  random,
  keys: createDerivedKeys(config.sessionSecrets),
  limits: createRateLimits({
    guestsPerMinute: config.guests.perMinute,
    onLimited: (scope) => instruments.rateLimited.inc({ scope }),
  }),
});

const record =
  ({ validations, validationSeconds }: SessionMetrics) =>
  (result: string, source: string, seconds: number): void => {
    validations.inc({ result, source });
    validationSeconds.observe({ source }, seconds);
  };

/** The truth about many sessions, by one statement; leaves it in Redis. */
const checkMany = async (
  deps: AuthenticateDeps,
  findMany: (ids: readonly SessionId[]) => ReturnType<ReturnType<typeof createSessionStore>['findMany']>,
  ids: readonly SessionId[],
): Promise<CheckedState[]> => {
  const found = new Map((await findMany([...new Set(ids)])).map((record) => [record.id, record]));
  return Promise.all(
    ids.map(async (id): Promise<CheckedState> => {
      const state = await judge(deps, id, found.get(id));
      if (state.is === 'live') return { id, state: 'live', snapshot: state.snapshot };
      return found.has(id) ? { id, state: 'ended', reason: state.reason } : { id, state: 'unknown' };
    }),
  );
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
