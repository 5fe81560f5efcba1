import type { Metrics } from '@muster/kit/metrics';
import type { Postgres } from '@muster/kit/postgres';
import type { RedisConnections } from '@muster/kit/redis';
import type { World } from '@muster/kit/world';
import { beatSessionBus, emitSessionChange } from '@muster/session/events';
import { createSnapshotStore } from '@muster/session/snapshot';
import { createTokenSigner, type SessionId } from '@muster/session/token';
import { createTouchBuffer, createTouchThrottle } from '@muster/session/touch';
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
import { createSessions, type Sessions } from './core/sessions.ts';
import { createSweeper } from './core/sweeper.ts';
import { createToucher, type Toucher } from './core/toucher.ts';
import type { HttpContext } from './http/context.ts';
import type { CheckedState } from './http/internal-routes.ts';
import { createRateLimits } from './http/rate-limits.ts';
import { createSessionMetrics, type SessionMetrics } from './metrics.ts';
import { createOutboxStore } from './store/outbox-store.ts';
import { createSessionStore } from './store/sessions-store.ts';
import { createSweepStore } from './store/sweep-store.ts';

const CACHE_DEADLINE_MS = 250;
const REPLAY_MS = 15 * 60_000;
const REPLAY_LIMIT = 50_000;
const RESERVED_CONNECTIONS = 3;

/** The core of a running service, without its ports to the network. */
export interface Engine {
  readonly context: HttpContext;
  readonly relay: Relay;
  check(ids: readonly SessionId[]): Promise<CheckedState[]>;
  endedWithin(ms: number): Promise<{ id: SessionId; why: string }[]>;
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
  const toucher = stack.use(openToucher(config, world, stores, instruments));
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
    pendingTouch: async (id) => (await toucher.pending([id]))[0],
    onKey: (keyIndex) => instruments.verified.inc({ key: keyIndex ?? 'none' }),
    onStaleAccepted: () => instruments.staleAccepted.inc(),
  };
  const sessions = createSessions({
    clock,
    random,
    log,
    signer,
    store,
    snapshots,
    propagation,
    onOpened: (kind) => instruments.created.inc({ kind }),
    onEnded: (reason, count) => instruments.revoked.inc({ reason }, count),
  });
  const relay = stack.use(createRelay({ outbox, propagation, log, pollMs: config.outboxPollMs }));
  stack.use(openHeartbeat(world, stores, store, cache));
  stack.use(openSweeper(config, world, stores, { sessions, toucher, instruments }));
  const authenticate = createChecker({ ...checking, onChecked: record(instruments) });
  return {
    relay,
    context: {
      ...parts(config, world, instruments),
      config,
      signer,
      sessions,
      authenticate,
      note: (session) => toucher.note(session),
    },
    check: (ids) => checkMany(checking, (wanted) => store.findMany(wanted), ids),
    endedWithin: (ms) => store.endedWithin(ms, REPLAY_LIMIT),
  };
};

type SessionStoreOfPostgres = ReturnType<typeof createSessionStore>;

const openToucher = (
  config: SessionServiceConfig,
  { clock, log }: World,
  { redis, postgres, metrics }: Stores,
  instruments: SessionMetrics,
): Toucher => {
  const toucher = createToucher({
    now: () => clock.now(),
    log,
    throttle: createTouchThrottle({ clock }),
    buffer: createTouchBuffer({ redis }),
    store: createSweepStore(postgres),
    intervalMs: config.sweep.intervalMs,
  });
  metrics.onCollect(() => instruments.buffered.set(toucher.size()));
  return toucher;
};

const openSweeper = (
  config: SessionServiceConfig,
  { clock, log }: World,
  { postgres }: Stores,
  { sessions, toucher, instruments }: { sessions: Sessions; toucher: Toucher; instruments: SessionMetrics },
) =>
  createSweeper({
    now: () => clock.now(),
    log,
    store: createSweepStore(postgres),
    pending: (ids) => toucher.pending(ids),
    end: (ids, reason, actor) => sessions.end(ids, reason, actor),
    ...config.sweep,
    onSwept: ({ deleted }) => {
      instruments.sweptDeleted.inc(deleted);
      instruments.sweptAt.set(clock.now() / 1000);
    },
  });

const openHeartbeat = (
  { clock, random, log }: World,
  stores: Stores,
  store: SessionStoreOfPostgres,
  snapshots: ReturnType<typeof createSnapshotStore>,
): Heartbeat =>
  createHeartbeat({
    clock,
    log,
    snapshots,
    beat: () => beatSessionBus(stores, hex(random.bytes(8)), clock.now()),
    ended: () => store.endedWithin(REPLAY_MS, REPLAY_LIMIT),
    emit: (ids, why) => emitSessionChange(stores, { k: 'end', ids, why, at: clock.now() }),
  });

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
  findMany: SessionStoreOfPostgres['findMany'],
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
