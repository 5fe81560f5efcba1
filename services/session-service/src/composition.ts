import { createBreaker } from '@muster/kit/circuit-breaker';
import { fetchJson } from '@muster/kit/fetch-json';
import { createJwks } from '@muster/kit/jwks';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { createTouchBuffer, createTouchThrottle } from '@muster/session/activity';
import { createRejectedTokens } from '@muster/session/session-decision';
import { emitSessionBusHeartbeat, emitSessionChange } from '@muster/session/session-events';
import { createSessionPresence } from '@muster/session/session-presence';
import { createSnapshotStore } from '@muster/session/session-snapshot';
import { createTicketStore } from '@muster/session/tickets';
import type { SessionId } from '@muster/session/token';
import type { SessionServiceConfig } from './config.ts';
import { createActivityFlusher, createLatestUses } from './core/activity-flusher.ts';
import { createAddressRewrite } from './core/address-rewrite.ts';
import { createApiKeys } from './core/api-keys.ts';
import { type AuthenticateDeps, createTokenAuthenticator, evaluateRecord } from './core/authenticate.ts';
import { createBackchannelLogout } from './core/backchannel-logout.ts';
import { createBusHeartbeat } from './core/bus-heartbeat.ts';
import { createExpirySweeper } from './core/expiry-sweeper.ts';
import { createGuestCeiling } from './core/guest-ceiling.ts';
import { createIpAnonymizer } from './core/ip-anonymization.ts';
import { createOutboxRelay } from './core/outbox-relay.ts';
import type { Snapshots } from './core/ports.ts';
import { createPropagation, type Propagation } from './core/propagation.ts';
import { createReuseDetector } from './core/secret-reuse-detection.ts';
import { createSessionAdmin, type SessionAdmin } from './core/session-admin.ts';
import { createSessionChanges } from './core/session-changes.ts';
import { toSnapshot } from './core/session-record.ts';
import { createSessionService, type SessionService } from './core/session-service.ts';
import type { KeyRing } from './core/signing-keys.ts';
import { createSnapshotLoader } from './core/snapshot-loader.ts';
import { createTokenExchange } from './core/token-exchange.ts';
import type { HttpContext, IdentityContext } from './http/context.ts';
import type { CheckedState } from './http/internal-routes.ts';
import { createRateLimits } from './http/rate-limits.ts';
import { MAX_DATA_BYTES } from './http/schemas.ts';
import { createLegacyImport, createLegacyStore } from './legacy-import.ts';
import { createOidcMetrics, createSessionMetrics } from './metrics.ts';
import { createIdTokenVerifier } from './oidc/id-token-verifier.ts';
import { createEndedLogins, createUsedTokens } from './oidc/login-store.ts';
import { createConnectionReporter } from './postgres/connection-report.ts';
import type { Postgres } from './postgres/pool.ts';
import { apiKeyQueries } from './postgres/queries/api-keys.ts';
import { changeQueries } from './postgres/queries/change-session.ts';
import { createSessionQueries } from './postgres/queries/create-session.ts';
import { endQueries } from './postgres/queries/end-sessions.ts';
import { eventQueries } from './postgres/queries/events.ts';
import { addressQueries, countGuests, sweepQueries, touchSessions } from './postgres/queries/maintenance.ts';
import { outboxQueries } from './postgres/queries/outbox.ts';
import { readQueries } from './postgres/queries/read-sessions.ts';
import { searchQueries } from './postgres/queries/search-sessions.ts';
import { userQueries } from './postgres/queries/users.ts';

/** The open connections and the signing keys of the process. */
interface Resources {
  readonly redis: RedisConnections;
  readonly postgres: Postgres;
  readonly metrics: Metrics;
  readonly keyRing: KeyRing;
}

const REPLAY_MS = 15 * 60_000;
const REPLAY_LIMIT = 50_000;
const RESERVED_CONNECTIONS = 3;
const CACHE_DEADLINE_MS = 250;

/** The core of a running service, without its network ports. */
export type Composition = ReturnType<typeof compose>;

/** Connects the core to its stores. Background jobs are disposed with the stack. */
export const compose = (
  config: SessionServiceConfig,
  runtime: Runtime,
  resources: Resources,
  stack: AsyncDisposableStack,
) => {
  const deps = createDependencies(config, runtime, resources, stack);
  const { store, outbox, log, instruments } = deps;
  const propagation = createPropagation({
    ...deps,
    snapshots: deps.cache,
    emit: (change) => emitSessionChange(deps, change),
    onDelivered: (ms) => instruments.propagationSeconds.observe(ms / 1000),
  });
  const sessions = createSessionService({
    ...deps,
    propagation,
    onOpened: (kind, devices) => {
      instruments.created.inc({ method: kind });
      if (kind === 'user') instruments.devicesPerUser.observe(devices);
    },
    onEnded: (reason, count) => instruments.revoked.inc({ reason }, count),
  });
  const authentication = authenticationOf(deps);
  const relay = stack.use(
    createOutboxRelay({
      outbox,
      propagation,
      log,
      pollMs: config.outboxPollMs,
      onWaiting: (count) => instruments.outboxWaiting.set(count),
    }),
  );
  stack.use(busHeartbeatOf(deps));
  stack.use(sweeperOf(deps, sessions));
  const context = contextOf(deps, { propagation, sessions, authentication });
  return {
    relay,
    context,
    connections: deps.connections,
    /** The new secret of a rotation was seen. Never rejects. */
    confirm: (id: SessionId, rev: number) => context.changes.confirm(id, rev),
    /** The state in Postgres of many sessions, in the order of the ids; stored in Redis on the way. */
    check: (ids: readonly SessionId[]) => checkMany(authentication, deps, ids),
    /** Ends and changes within the last `ms` milliseconds. */
    recentChanges: async (ms: number) => {
      const [ended, changed] = await Promise.all([
        store.endedWithin(ms, REPLAY_LIMIT),
        store.changedWithin(ms, REPLAY_LIMIT),
      ]);
      return { sessions: ended, changed };
    },
  };
};

type Dependencies = ReturnType<typeof createDependencies>;

/** The stores and instruments that the core shares. */
const createDependencies = (
  config: SessionServiceConfig,
  runtime: Runtime,
  resources: Resources,
  stack: AsyncDisposableStack,
) => {
  const { clock, log } = runtime;
  const { redis, postgres, metrics, keyRing } = resources;
  const instruments = createSessionMetrics(metrics);
  const cache = createSnapshotStore({ redis, clock });
  const activity = stack.use(
    createActivityFlusher({
      now: () => clock.now(),
      log,
      throttle: createTouchThrottle({ clock }),
      buffer: createTouchBuffer({ redis }),
      write: (touches) => touchSessions(postgres, touches),
      intervalMs: config.sweep.intervalMs,
    }),
  );
  const presence = createSessionPresence({ redis, clock, fleet: config.common.fleetName });
  const latestUses = createLatestUses(activity, presence);
  metrics.onCollect(() => instruments.buffered.set(activity.size()));
  return {
    config,
    ...runtime,
    ...resources,
    instruments,
    signer: keyRing.signer,
    keys: keyRing.keys,
    addresses: createIpAnonymizer(config.sessionIpMode, keyRing.keys),
    store: {
      ...createSessionQueries(postgres, latestUses),
      ...readQueries(postgres),
      ...changeQueries(postgres),
      ...endQueries(postgres),
      ...searchQueries(postgres),
      ...eventQueries(postgres),
      ...userQueries(postgres),
      ...sweepQueries(postgres),
    },
    outbox: outboxQueries(postgres),
    /** Direct access to Redis, for writes that must arrive. */
    cache,
    /** Behind a circuit breaker, for reads and fills that may fail. */
    snapshots: withBreaker(cache, clock),
    activity,
    presence,
    latestUses,
    connections: createConnectionReporter({ config, redis, postgres, log }),
  };
};

const withBreaker = (store: Snapshots, clock: Runtime['clock']): Snapshots => {
  const { run } = createBreaker({ clock, what: 'the session cache', deadlineMs: CACHE_DEADLINE_MS });
  return {
    read: (id) => run(() => store.read(id)),
    put: (snapshot) => run(() => store.put(snapshot)),
    refresh: (snapshot) => run(() => store.refresh(snapshot)),
    tomb: (id, rev, reason, tenant) => run(() => store.tomb(id, rev, reason, tenant)),
    putUnknown: (id) => run(() => store.putUnknown(id)),
  };
};

const authenticationOf = (deps: Dependencies): AuthenticateDeps => {
  const { config, store, activity, instruments } = deps;
  return {
    ...deps,
    loader: createSnapshotLoader({
      findMany: store.findMany,
      maxConcurrent: Math.max(1, config.postgres.poolSize - RESERVED_CONNECTIONS),
    }),
    pendingTouch: async (id) => (await activity.pending([id]))[0],
    rejected: createRejectedTokens(),
    onKey: (keyIndex) => instruments.verified.inc({ key: keyIndex ?? 'none' }),
    onStaleAccepted: () => instruments.staleAccepted.inc(),
    onCache: (result) => instruments.cacheRequests.inc({ result }),
  };
};

const busHeartbeatOf = (deps: Dependencies) =>
  createBusHeartbeat({
    ...deps,
    snapshots: deps.cache,
    emitHeartbeat: async () => {
      const candidate = Buffer.from(deps.random.bytes(8)).toString('hex');
      const state = await emitSessionBusHeartbeat(deps, candidate, deps.clock.now());
      return { ...state, servers: await deps.redis.servers() };
    },
    recentlyEnded: () => deps.store.endedWithin(REPLAY_MS, REPLAY_LIMIT),
    emit: (ids, why) => emitSessionChange(deps, { k: 'end', ids, why, at: deps.clock.now() }),
  });

const sweeperOf = (deps: Dependencies, sessions: SessionService) => {
  const { config, clock, log, addresses, store, cache, activity, instruments, postgres } = deps;
  const now = () => clock.now();
  return createExpirySweeper({
    now,
    log,
    store,
    pending: activity.pending,
    end: sessions.end,
    ...config.sweep,
    rewriteAddresses: createAddressRewrite({
      now,
      log,
      addresses,
      store: addressQueries(postgres),
      refresh: async (ids) => {
        for (const record of await store.findMany(ids)) {
          if (record.endedAt === null) await cache.refresh(toSnapshot(record, clock.now()));
        }
      },
    }),
    onSwept: ({ deleted }) => {
      instruments.sweptDeleted.inc(deleted);
      instruments.sweptAt.set(clock.now() / 1000);
    },
    onCounted: (active) => instruments.active.set(active),
  });
};

const contextOf = (
  deps: Dependencies,
  rules: { propagation: Propagation; sessions: SessionService; authentication: AuthenticateDeps },
): HttpContext => {
  const { config, clock, instruments, activity, postgres, redis, log } = deps;
  const { propagation, sessions, authentication } = rules;
  const admin = createSessionAdmin({
    ...deps,
    sessions,
    propagation,
    now: () => clock.now(),
    onEnded: (reason, count) => instruments.revoked.inc({ reason }, count),
  });
  return {
    ...deps,
    apiKeys: createApiKeys({ ...deps, store: apiKeyQueries(postgres), given: config.serviceApiKeys }),
    sessions,
    admin,
    identity: identityOf(deps, { sessions, admin }),
    changes: createSessionChanges({
      ...deps,
      propagation,
      onRotated: (result) => instruments.rotated.inc({ result }),
    }),
    reuse: createReuseDetector({
      ...deps,
      end: sessions.end,
      onReuse: (kind, action) => instruments.reused.inc({ kind, action }),
    }),
    authenticate: createTokenAuthenticator({
      ...authentication,
      onChecked: (result, source, seconds) => {
        instruments.validations.inc({ result, source });
        instruments.validationSeconds.observe({ source }, seconds);
      },
    }),
    legacy:
      config.legacy &&
      createLegacyImport({
        ...config.legacy,
        clock,
        log,
        sessions,
        store: createLegacyStore(redis, config.legacy.prefix),
        maxDataBytes: MAX_DATA_BYTES,
        onImport: (result) => instruments.imported.inc({ result }),
      }),
    recordActivity: activity.record,
    tickets: createTicketStore(deps),
    limits: createRateLimits({
      ...deps,
      perMinute: config.limits,
      guestCeiling: createGuestCeiling({
        clock,
        max: config.guests.max,
        count: (tenant, max) => countGuests(postgres, tenant, max),
      }),
      onLimited: (scope) => instruments.rateLimited.inc({ scope }),
    }),
  };
};

/** Token exchange and back-channel logout; undefined where no issuer is configured. */
const identityOf = (
  deps: Dependencies,
  { sessions, admin }: { readonly sessions: SessionService; readonly admin: SessionAdmin },
): IdentityContext | undefined => {
  const { config, clock, log, metrics } = deps;
  if (config.oidcIssuers.length === 0) return undefined;
  const instruments = createOidcMetrics(metrics);
  const verifier = createIdTokenVerifier({
    clock,
    issuers: config.oidcIssuers,
    keysOf: (issuer) =>
      createJwks({
        clock,
        log,
        issuer,
        requireHttps: config.nodeEnv === 'production',
        fetchJson,
        onFetched: (result) => instruments.fetched.inc({ issuer: issuer.name, result }),
      }),
  });
  const shared = { clock, verifier, used: createUsedTokens(deps), endedLogins: createEndedLogins(deps) };
  return {
    exchange: createTokenExchange({
      ...shared,
      sessions,
      onExchanged: (result) => instruments.exchanged.inc({ result }),
    }),
    logout: createBackchannelLogout({
      ...shared,
      admin,
      onLogout: (result) => instruments.loggedOut.inc({ result }),
    }),
  };
};

const checkMany = async (
  authentication: AuthenticateDeps,
  { store }: Dependencies,
  ids: readonly SessionId[],
): Promise<CheckedState[]> => {
  const found = new Map((await store.findMany([...new Set(ids)])).map((record) => [record.id, record]));
  return Promise.all(
    ids.map(async (id): Promise<CheckedState> => {
      const state = await evaluateRecord(authentication, id, found.get(id));
      if (state.is === 'live') return { id, state: 'live', snapshot: state.snapshot };
      const tenant = found.get(id)?.tenant;
      return tenant === undefined ? { id, state: 'unknown' } : { id, state: 'ended', reason: state.reason, tenant };
    }),
  );
};
