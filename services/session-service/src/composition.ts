import type { Runtime } from '@muster/kit/runtime';
import { createRejectedTokens } from '@muster/session/rejected-tokens';
import { emitSessionBusHeartbeat, emitSessionChange } from '@muster/session/session-events';
import { createTicketStore } from '@muster/session/tickets';
import type { SessionId } from '@muster/session/token';
import { type Dependencies, openDependencies, type SessionStores } from './base.ts';
import type { SessionServiceConfig } from './config.ts';
import { createAddressRewrite } from './core/address-rewrite.ts';
import { createApiKeys } from './core/api-keys.ts';
import { type AuthenticateDeps, evaluateRecord } from './core/authenticate.ts';
import { type BusHeartbeat, createBusHeartbeat } from './core/bus-heartbeat.ts';
import { createChecker } from './core/checker.ts';
import { createExpirySweeper, type ExpirySweeper } from './core/expiry-sweeper.ts';
import { createGuestCeiling } from './core/guest-ceiling.ts';
import { createOutboxRelay, type OutboxRelay } from './core/outbox-relay.ts';
import { createPropagation, type Propagation } from './core/propagation.ts';
import { createReuseDetector } from './core/reuse-detection.ts';
import { toSnapshot } from './core/session.ts';
import { createSessionAdmin } from './core/session-admin.ts';
import { createSessionChanges } from './core/session-changes.ts';
import { createSessionService, type SessionService } from './core/sessions.ts';
import { createSnapshotLoader } from './core/snapshot-loader.ts';
import type { HttpContext } from './http/context.ts';
import type { CheckedState, RecentChanges } from './http/internal-routes.ts';
import { createRateLimits } from './http/rate-limits.ts';
import { MAX_DATA_BYTES } from './http/schemas.ts';
import { createLegacyImport, type LegacyImport } from './legacy-import.ts';
import { createLegacyStore } from './legacy-store.ts';
import { type ConnectionReporter, createConnectionReporter } from './postgres/connection-report.ts';
import { countGuests } from './postgres/queries/maintenance.ts';
import { identityOf } from './wiring-identity.ts';

const REPLAY_MS = 15 * 60_000;
const REPLAY_LIMIT = 50_000;
const RESERVED_CONNECTIONS = 3;

/** The core of a running service, without its ports to the network. */
export interface Composition {
  readonly context: HttpContext;
  readonly relay: OutboxRelay;
  readonly connections: ConnectionReporter;
  check(ids: readonly SessionId[]): Promise<CheckedState[]>;
  confirm(id: SessionId, rev: number): Promise<void>;
  recentChanges(ms: number): Promise<RecentChanges>;
}

/** Wires rules to stores by plain arguments; what runs in the background goes on the stack. */
export const compose = (
  config: SessionServiceConfig,
  world: Runtime,
  stores: SessionStores,
  stack: AsyncDisposableStack,
): Composition => {
  const base = openDependencies(config, world, stores, stack);
  const { store, outbox, log } = base;
  const propagation = propagationOf(base);
  const sessions = sessionsOf(base, propagation);
  const checking = checkingOf(base);
  const relay = stack.use(
    createOutboxRelay({
      outbox,
      propagation,
      log,
      pollMs: config.outboxPollMs,
      onWaiting: (count) => base.instruments.outboxWaiting.set(count),
    }),
  );
  const connections = createConnectionReporter(base);
  stack.use(heartbeatOf(base));
  stack.use(sweeperOf(base, sessions));
  const context = contextOf(base, { propagation, sessions, checking, connections });
  return {
    relay,
    connections,
    context,
    confirm: (id, rev) => context.changes.confirm(id, rev),
    check: (ids) => checkMany(checking, base, ids),
    recentChanges: async (ms) => {
      const [ended, changed] = await Promise.all([
        store.endedWithin(ms, REPLAY_LIMIT),
        store.changedWithin(ms, REPLAY_LIMIT),
      ]);
      return { sessions: ended, changed };
    },
  };
};

const propagationOf = (base: Dependencies): Propagation =>
  createPropagation({
    clock: base.clock,
    log: base.log,
    store: base.store,
    snapshots: base.cache,
    outbox: base.outbox,
    emit: (change) => emitSessionChange(base, change),
    onDelivered: (ms) => base.instruments.propagationSeconds.observe(ms / 1000),
  });

const sessionsOf = (base: Dependencies, propagation: Propagation): SessionService =>
  createSessionService({
    ...base,
    propagation,
    touch: (touches) => base.sweepStore.touch(touches),
    onOpened: (kind, devices) => {
      base.instruments.created.inc({ method: kind });
      if (kind === 'user') base.instruments.devicesPerUser.observe(devices);
    },
    onEnded: (reason, count) => base.instruments.revoked.inc({ reason }, count),
  });

const checkingOf = ({
  config,
  clock,
  log,
  signer,
  snapshots,
  store,
  toucher,
  instruments,
}: Dependencies): AuthenticateDeps => ({
  clock,
  log,
  signer,
  snapshots,
  loader: createSnapshotLoader({
    findMany: (ids) => store.findMany(ids),
    maxConcurrent: Math.max(1, config.postgres.poolSize - RESERVED_CONNECTIONS),
  }),
  pendingTouch: async (id) => (await toucher.pending([id]))[0],
  refusals: createRejectedTokens(),
  onKey: (keyIndex) => instruments.verified.inc({ key: keyIndex ?? 'none' }),
  onStaleAccepted: () => instruments.staleAccepted.inc(),
  onCache: (result) => instruments.cacheRequests.inc({ result }),
});

const heartbeatOf = (base: Dependencies): BusHeartbeat =>
  createBusHeartbeat({
    clock: base.clock,
    log: base.log,
    snapshots: base.cache,
    emitHeartbeat: async () => {
      const candidate = Buffer.from(base.random.bytes(8)).toString('hex');
      const state = await emitSessionBusHeartbeat(base, candidate, base.clock.now());
      return { ...state, servers: await base.redis.servers() };
    },
    ended: () => base.store.endedWithin(REPLAY_MS, REPLAY_LIMIT),
    emit: (ids, why) => emitSessionChange(base, { k: 'end', ids, why, at: base.clock.now() }),
  });

const sweeperOf = (base: Dependencies, sessions: SessionService): ExpirySweeper => {
  const { config, clock, log, sweepStore, toucher, instruments } = base;
  return createExpirySweeper({
    now: () => clock.now(),
    log,
    store: sweepStore,
    pending: (ids) => toucher.pending(ids),
    end: (ids, reason, actor) => sessions.end(ids, reason, actor),
    ...config.sweep,
    rewriteAddresses: addressRewriteOf(base),
    onSwept: ({ deleted }) => {
      instruments.sweptDeleted.inc(deleted);
      instruments.sweptAt.set(clock.now() / 1000);
    },
    onCounted: (active) => instruments.active.set(active),
  });
};

const addressRewriteOf = ({ clock, log, addresses, addressStore, store, cache }: Dependencies) =>
  createAddressRewrite({
    now: () => clock.now(),
    log,
    addresses,
    store: addressStore,
    refresh: async (ids) => {
      for (const record of await store.findMany(ids)) {
        if (record.endedAt === null) await cache.refresh(toSnapshot(record, clock.now()));
      }
    },
  });

const contextOf = (
  base: Dependencies,
  rules: {
    propagation: Propagation;
    sessions: SessionService;
    checking: AuthenticateDeps;
    connections: ConnectionReporter;
  },
): HttpContext => {
  const { config, clock, random, signer, keys, addresses, instruments, toucher } = base;
  const { propagation, sessions, checking, connections } = rules;
  const admin = createSessionAdmin({
    store: base.adminStore,
    sessions,
    propagation,
    latestUses: base.latestUses,
    now: () => clock.now(),
    touch: (touches) => base.sweepStore.touch(touches),
    onEnded: (reason, count) => instruments.revoked.inc({ reason }, count),
  });
  return {
    config,
    clock,
    random,
    signer,
    keys,
    addresses,
    apiKeys: createApiKeys({ ...base, store: base.keyStore, given: config.serviceApiKeys }),
    sessions,
    admin,
    identity: identityOf(base, { sessions, admin }),
    changes: createSessionChanges({
      ...base,
      propagation,
      onRotated: (result) => instruments.rotated.inc({ result }),
    }),
    reuse: createReuseDetector({
      ...base,
      end: (ids, reason, actor) => sessions.end(ids, reason, actor),
      onReuse: (kind, action) => instruments.reused.inc({ kind, action }),
    }),
    authenticate: createChecker({
      ...checking,
      onChecked: (result, source, seconds) => {
        instruments.validations.inc({ result, source });
        instruments.validationSeconds.observe({ source }, seconds);
      },
    }),
    connections,
    legacy: legacyOf(base, sessions),
    recordActivity: (session) => toucher.record(session),
    presence: base.presence,
    tickets: createTicketStore(base),
    limits: createRateLimits({
      ...base,
      perMinute: config.limits,
      guestCeiling: createGuestCeiling({
        clock,
        max: config.guests.max,
        count: (tenant, most) => countGuests(base.postgres, tenant, most),
      }),
      onLimited: (scope) => instruments.rateLimited.inc({ scope }),
    }),
  };
};

const legacyOf = (
  { config, clock, redis, log, instruments }: Dependencies,
  sessions: SessionService,
): LegacyImport | undefined =>
  config.legacy &&
  createLegacyImport({
    clock,
    log,
    sessions,
    store: createLegacyStore(redis, config.legacy.prefix),
    secrets: config.legacy.secrets,
    cookieName: config.legacy.cookieName,
    userField: config.legacy.userField,
    maxDataBytes: MAX_DATA_BYTES,
    onImport: (result) => instruments.imported.inc({ result }),
  });

/** The truth about many sessions, by one statement; leaves it in Redis. */
const checkMany = async (
  deps: AuthenticateDeps,
  { store }: Dependencies,
  ids: readonly SessionId[],
): Promise<CheckedState[]> => {
  const found = new Map((await store.findMany([...new Set(ids)])).map((record) => [record.id, record]));
  return Promise.all(
    ids.map(async (id): Promise<CheckedState> => {
      const state = await evaluateRecord(deps, id, found.get(id));
      if (state.is === 'live') return { id, state: 'live', snapshot: state.snapshot };
      const tenant = found.get(id)?.tenant;
      return tenant === undefined
        ? { id, state: 'unknown' }
        : { id, state: 'ended', reason: state.reason, tenant };
    }),
  );
};
