import { randomUUID } from 'node:crypto';
import { createRedisBus } from '@muster/bus/redis-broker';
import { createRedisPresence } from '@muster/bus/redis-presence';
import { every, type Stop } from '@muster/kit/clock';
import { fetchJson } from '@muster/kit/fetch-json';
import { createJwks } from '@muster/kit/jwks';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { createRefusalLog } from '@muster/kit/refusal-log';
import { VERSION } from '@muster/kit/run-service';
import type { Runtime } from '@muster/kit/runtime';
import type { ClientId } from '@muster/protocol/ids';
import { createSessionCache } from '@muster/session/session-cache';
import { createRejectedTokens, type SessionDecision, SNAPSHOT_TIMEOUT_MS } from '@muster/session/session-decision';
import { createSessionEventsSubscriber } from '@muster/session/session-events-subscriber';
import { createSnapshotStore, type Snapshot } from '@muster/session/session-snapshot';
import { createSessionSource } from '@muster/session/session-source';
import { createTicketStore } from '@muster/session/tickets';
import { createTokenSigner } from '@muster/session/token';
import { type Authenticator, createAuthenticator, identityOfSession } from './auth/authenticator.ts';
import { withConnectionLimits } from './auth/connection-limits.ts';
import { createHandshakeQueue } from './auth/handshake-queue.ts';
import { createJwtAuthenticator, type JwtAuthenticator, type JwtAuthenticatorDeps } from './auth/jwt-authenticator.ts';
import { createJwtVerifier } from './auth/jwt-verifier.ts';
import { createRejectedCredentials, withRejectionLog } from './auth/rejected-credentials.ts';
import { createSessionActivity } from './auth/session-activity.ts';
import { createSessionRegistry, type SessionRegistry } from './auth/session-registry.ts';
import { createSessionRevalidation, isPrivilegeChange } from './auth/session-revalidation.ts';
import { withTailTokens } from './auth/tail-authenticator.ts';
import { createHttpCallbacks } from './callbacks/http-callbacks.ts';
import { opensNothing } from './config/groups.ts';
import type { GatewayConfig } from './config/index.ts';
import type { AnyConnection } from './core/connection/any-connection.ts';
import { createEngine, type GatewayEngine, TICK_MS } from './core/engine.ts';
import { createNamespaces, DEFAULT_OPTIONS, type NamespaceTable, openNamespaces } from './core/namespaces.ts';
import type { ClientIdentity } from './core/ports.ts';
import { connectionStatsOf, createGatewayMetrics, createLimitLog, type GatewayMetrics } from './metrics.ts';

/** Interval of the position check, ±10 %. */
const POSITION_CHECK_MS = 5_000;
const DEFAULT_TABLE = { withoutNamespace: DEFAULT_OPTIONS, namespaces: new Map() };

/** Everything between Redis and the sockets. */
export const composeGateway = (config: GatewayConfig, runtime: Runtime, redis: RedisConnections, metrics: Metrics) => {
  const { clock, random, log } = runtime;
  const stack = new AsyncDisposableStack();
  let current = config;
  const registry = createSessionRegistry((id) => sessions.cache.forget(id));
  const groups = composeGroups(config, log);
  const jwtAuthenticator = composeJwtAuthenticator(config, runtime, metrics);
  const state = () => ({
    ...engine.counts(),
    sessions: registry.size(),
    busSubscriptions: engine.bus.subscriptions(),
    handshakeQueue: handshakeQueue.waiting(),
    connectionsLimit: config.maxConnections,
    ...connectionStatsOf(engine.connections()),
  });
  const instruments = createGatewayMetrics(metrics, state, createLimitLog(log, clock));
  const sessions = stack.use(
    composeSessions(config, runtime, redis, metrics, {
      ...{ registry, instruments, jwtAuthenticator },
      isBusDeaf: () => engine.bus.fault() !== undefined,
    }),
  );
  const handshakeQueue = composeHandshakeQueue(config, sessions.authenticator, runtime, instruments);
  const rejections = createRejectedCredentials(metrics, createRefusalLog(log));
  const presence = stack.use(
    createRedisPresence({ redis, log }, { onGone: (group, _, info) => engine.onClientGone(group, info) }),
  );
  const engine = createEngine({
    ...{ clock, random, log, presence },
    connectBus: (handlers) => stack.use(createRedisBus({ redis, log, metrics }, handlers)),
    authenticator: withRejectionLog(handshakeQueue.authenticator, rejections),
    subscriptionTokens: jwtAuthenticator.subscriptionTokens,
    callbacks: composeCallbacks(config, runtime, metrics),
    namespaces: groups.namespaces,
    metrics: instruments,
    limits: config,
    publishBatchWindowMs: config.publishBatchWindowMs,
    personalGroups: config.personalGroups,
    gateway: config.common.instanceName,
    version: VERSION,
    newClientId: () => randomUUID() as ClientId,
    isTokenKeyValid: jwtAuthenticator.isTokenKeyValid,
    isTenantHost: sessions.isTenantHost,
  });
  startTimers(engine, config, random).forEach(stack.defer, stack);
  return {
    engine,
    authenticator: handshakeQueue.authenticator,
    handshakeQueue,
    instruments,
    rejections,
    registry,
    /** Resolves when a session service answers and accepts our API key. */
    checkSessionService: sessions.checkSource,
    /** Present keys of the server API. */
    serverApiKeys: () => current.serverApiKeys,
    /** Applies session secrets, token keys, tenant hosts, server API keys and group options of a reloaded configuration. */
    reload: (next: GatewayConfig): void => {
      current = next;
      groups.reload(next);
      sessions.reload(next);
      jwtAuthenticator.reload(next);
      void engine.reviewPermissions();
      const { sessionSecrets, access } = next;
      log.info({ keys: sessionSecrets.length, tokenKeys: access.tokens.keys.length }, 'gateway.reloaded');
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};

export type Gateway = ReturnType<typeof composeGateway>;

const startTimers = (engine: GatewayEngine, config: GatewayConfig, random: Runtime['random']): Stop[] => [
  every(TICK_MS, engine.tick),
  every(POSITION_CHECK_MS * (0.9 + random.fraction() / 5), () => void engine.checkPositions()),
  every(config.plainSweepMs, () => engine.sweepPlain(config.plainSilenceMs)),
];

/** The authenticator of sockets: behind a queue, within the limits of users and sessions. */
const composeHandshakeQueue = (
  config: GatewayConfig,
  authenticator: Authenticator,
  { clock }: Runtime,
  instruments: GatewayMetrics,
) =>
  createHandshakeQueue({
    authenticator: withConnectionLimits({
      authenticator,
      maxPerUser: config.maxConnectionsPerUser,
      maxPerSession: config.maxConnectionsPerSession,
      onRefused: instruments.limitReached,
    }),
    clock,
    concurrency: config.handshakeConcurrency,
    maxWaiting: config.handshakeQueue,
    onWaited: instruments.handshakeWaited,
    onRefused: () => instruments.limitReached('admission'),
  });

/** Logs what clients may use: namespaces without any permission, or all groups without GROUPS_FILE, are rarely intended. */
const logGroups = (table: NamespaceTable | undefined, log: Runtime['log']): void => {
  if (table === undefined) {
    const detail =
      'Without GROUPS_FILE every signed-in client may subscribe and publish to every group but `$…` and `…#user`.';
    log.warn({ detail }, 'gateway.groups_open');
    return;
  }
  const all = [...table.namespaces, ['', table.withoutNamespace] as const];
  const closed = all.filter(([, options]) => opensNothing(options)).map(([name]) => name);
  log.info({ namespaces: table.namespaces.size, closed }, 'gateway.groups_loaded');
};

/** Options of groups; reloadable when they were configured at start-up. */
const composeGroups = ({ groups }: GatewayConfig, log: Runtime['log']) => {
  let table = groups;
  logGroups(groups, log);
  return {
    namespaces: table === undefined ? openNamespaces : createNamespaces(() => table ?? DEFAULT_TABLE),
    reload: ({ groups: next }: GatewayConfig): void => {
      table = next;
      logGroups(next, log);
    },
  };
};

/** Authentication of clients without a session, by JSON Web Tokens of the application and by tail tokens. */
const composeJwtAuthenticator = (config: GatewayConfig, { clock, log }: Runtime, metrics: Metrics) => {
  const { access } = config;
  const checks = metrics.counter('gateway_token_checks_total');
  const fetches = metrics.counter('gateway_token_key_fetches_total');
  let rules = access.tokens;
  let { tenantHosts, serverApiKeys } = config;
  const jwks =
    access.jwksUrl === undefined
      ? undefined
      : createJwks({
          ...{ clock, log, fetchJson },
          issuer: { name: 'tokens', issuer: '', jwksUri: access.jwksUrl },
          // The configuration rejects plain HTTP in production.
          requireHttps: false,
          onFetched: (result) => fetches.inc({ result }),
        });
  const onToken: JwtAuthenticatorDeps['onToken'] = (kind, result) => checks.inc({ kind, result });
  const currentHosts: JwtAuthenticatorDeps['tenantHosts'] = {
    tenantOf: (host) => tenantHosts.tenantOf(host),
    admits: (host, tenant) => tenantHosts.admits(host, tenant),
  };
  const jwtAuthenticator = createJwtAuthenticator({
    ...{ clock, onToken, tenantHosts: currentHosts },
    verifier: createJwtVerifier({ clock, log, rules: () => rules, published: jwks }),
    allowsAnonymous: access.allowsAnonymous,
    isInsecure: access.isInsecure,
  });
  return {
    ...withTailTokens(jwtAuthenticator, {
      ...{ clock, log, onToken, tenantHosts: currentHosts },
      serverApiKeys: () => serverApiKeys,
    }),
    reload: (next: GatewayConfig): void => {
      rules = next.access.tokens;
      tenantHosts = next.tenantHosts;
      serverApiKeys = next.serverApiKeys;
    },
  };
};

const composeCallbacks = (
  { access, maxPublicationBytes }: GatewayConfig,
  { clock, log }: Runtime,
  metrics: Metrics,
) => {
  const calls = metrics.counter('gateway_callbacks_total');
  const durations = metrics.histogram('gateway_callback_duration_seconds');
  const inFlight = metrics.gauge('gateway_callbacks_in_flight').with({});
  return createHttpCallbacks({
    ...{ clock, log, ...access.callbacks, maxDataBytes: maxPublicationBytes },
    newId: randomUUID,
    onAnswer: (kind, outcome, seconds) => {
      calls.inc({ kind, outcome });
      durations.observe({ kind }, seconds);
    },
    onInFlight: (count) => inFlight.set(count),
  });
};

interface SessionParts {
  readonly registry: SessionRegistry;
  readonly instruments: GatewayMetrics;
  readonly jwtAuthenticator: JwtAuthenticator;
  /** True while the bus of the groups does not deliver the loopback probe. */
  isBusDeaf(): boolean;
}

/** Authentication by sessions, and what ends or changes the sessions of open connections. */
const composeSessions = (
  config: GatewayConfig,
  { clock, random, log }: Runtime,
  redis: RedisConnections,
  metrics: Metrics,
  { registry, instruments, jwtAuthenticator, isBusDeaf }: SessionParts,
) => {
  let signer = createTokenSigner(config.sessionSecrets);
  let { tenantHosts } = config;
  const stack = new AsyncDisposableStack();
  const identityOf = (snapshot: Snapshot) => identityOfSession(snapshot, config.access.isInsecure);
  const snapshots = createSnapshotStore({ redis, clock, readTimeoutMs: SNAPSHOT_TIMEOUT_MS });
  const cache = createSessionCache<ClientIdentity>({
    clock,
    max: config.maxConnections,
    ttlMs: config.verifiedSessionMs,
    isTrusted: () => subscriber.healthy() && !isBusDeaf(),
    valueOf: identityOf,
  });
  const source = createSessionSource({ urls: config.sessionServiceUrls, apiKey: config.internalApiKey });
  const subscriber = stack.use(
    createSessionEventsSubscriber({
      ...{ redis, clock, log, metrics },
      onEnded: registry.end,
      onChanged: (change) => {
        change.ids.forEach(cache.forget);
        if (change.k === 'upd') void revalidation.checkChanged(change.ids);
        else if (isPrivilegeChange(change.why)) for (const id of change.ids) registry.renew(id, change.why);
      },
      onLost: () => {
        cache.forgetAll();
        // Redis may have lost the presence of sessions, too.
        registry.markChanged(registry.ids());
        void revalidation.checkAll();
      },
    }),
  );
  const revalidation = stack.use(
    createSessionRevalidation({
      ...{ registry, cache, snapshots, source, log, identityOf, isBusHealthy: subscriber.healthy },
      onLive: createSessionActivity({ redis, clock, log }),
    }),
  );
  return {
    cache,
    authenticator: createAuthenticator({
      signer: { issue: (id, secret) => signer.issue(id, secret), verify: (token) => signer.verify(token) },
      tenantHosts: {
        tenantOf: (host) => tenantHosts.tenantOf(host),
        admits: (host, tenant) => tenantHosts.admits(host, tenant),
      },
      isInsecure: config.access.isInsecure,
      tickets: createTicketStore({ redis, random }),
      rejected: createRejectedTokens<SessionDecision>(),
      ...{ jwtAuthenticator, registry, cache, snapshots, source, clock, log },
      onResult: instruments.sessionChecked,
    }),
    checkSource: source.ping,
    /** True when the tenant of a connection exists at its `Host`. */
    isTenantHost: ({ host, identity }: AnyConnection): boolean =>
      identity === undefined || tenantHosts.admits(host, identity.tenant),
    reload: (next: GatewayConfig): void => {
      signer = createTokenSigner(next.sessionSecrets);
      // Tokens with a removed secret are rejected at once.
      cache.forgetAll();
      tenantHosts = next.tenantHosts;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};
