import type { IncomingMessage, ServerResponse } from 'node:http';
import { createHttpApp } from '@muster/http/app';
import { listen } from '@muster/http/listen';
import { sleep } from '@muster/kit/clock';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat, type Directive } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth } from '@muster/kit/health';
import { createMetrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import type { ProcessInfo } from '@muster/kit/probe-responses';
import { openRedis } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run-service';
import type { Runtime } from '@muster/kit/runtime';
import { compose } from './composition.ts';
import type { SessionServiceConfig } from './config.ts';
import type { OutboxBacklog } from './core/outbox-relay.ts';
import { createKeyRing } from './core/signing-keys.ts';
import { internalRoutes } from './http/internal-routes.ts';
import { createSessionServer } from './http/server.ts';
import { migrate } from './postgres/migration-runner.ts';
import { openPostgres, type Postgres, type Privilege } from './postgres/pool.ts';
import { type SchemaMigration, startSchemaMigration } from './postgres/schema-migration.ts';
import { reportKeyAges } from './signing-key-ages.ts';

const SERVICE = 'session-service';

export interface SessionServiceApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
  /** Applies the signing keys of a configuration that was read again. */
  reload(config: SessionServiceConfig): void;
}

/** Opens the stores, connects the core to them, opens both ports, then starts the heartbeat. Starts without its stores, too. */
export const createApp = async (config: SessionServiceConfig, runtime: Runtime): Promise<SessionServiceApp> => {
  const { common } = config;
  const { clock, log } = runtime;
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const applicationName = `sessions@${common.instanceName}`;
  const postgres = stack.use(openPostgres({ ...config.postgres, applicationName }, { log, metrics }));
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  const schema = stack.use(await startSchemaMigration(() => migrateIfConfigured(config, log), log));
  const keyRing = createKeyRing(config.sessionSecrets);
  const reportAgesOf = reportKeyAges({ redis, clock, log, metrics });
  reportAgesOf(config.sessionSecrets);
  const composition = compose(config, runtime, { redis, postgres, metrics, keyRing }, stack);
  if (schema.isReady()) await composition.connections.requireBudget();
  const checks = { database: () => checkDatabase(postgres, schema), redis: () => redis.ping() };
  const health = stack.use(createHealth({ clock, log, metrics, checks, isStrict: common.isStrict }));
  redis.onConnectionChange(() => void health.checkNow('redis'));
  const about: ProcessInfo = {
    service: SERVICE,
    version: VERSION,
    instance: common.instanceName,
    startedAt: clock.now(),
    details: () => ({
      database: { pool: postgres.stats() },
      redis: { connections: redis.count() },
      outbox: outboxHealth(composition.relay.backlog(), clock.now()),
    }),
  };
  const { context } = composition;
  const { host, trustedProxies } = { ...common, ...config };
  const app = createSessionServer({ context, health, about, clock, log, metrics, trustedProxies });
  const routes = internalRoutes({ ...composition, internalApiKey: config.internalApiKey });
  const handle = internalOnly(createHttpApp({ log, metrics, routes }));
  const open = stack.use(await listen(app, { host, port: common.port }));
  const ops = stack.use(
    await openOpsServer({ host, port: common.opsPort, health, about, metrics, clock, log, handle }),
  );
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port: open.port, opsPort: ops.port, clock });
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
  stack.use(watchLocalFaults({ ...runtime, health, instance, metrics, aggregators, afterMs }));
  const load = loadOf(postgres);
  const onDirective = ({ kind }: Directive): void => void (kind === 'drain' ? open.drain() : open.resume());
  const loop = stack.use(monitorEventLoop(intervalMs, metrics));
  stack.use(createHeartbeat({ ...runtime, redis, instance, health, load, loop, intervalMs, ttlMs, onDirective }));
  log.info({ port: open.port, opsPort: ops.port }, 'session_service.ready');
  const owned = stack.move();
  return {
    port: open.port,
    opsPort: ops.port,
    reload: ({ sessionSecrets }) => {
      keyRing.replace(sessionSecrets);
      reportAgesOf(sessionSecrets);
      log.info({ keys: sessionSecrets.length }, 'session_service.reloaded');
    },
    drain: async (signal) => {
      health.startDraining();
      await open.drain();
      await sleep(config.drainDelayMs, signal);
      // Delivers what other replicas would otherwise deliver after this replica has stopped.
      await composition.relay.runOnce();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

/** Privileges that every login, check and sign-out requires. */
const NEEDED_PRIVILEGES: readonly Privilege[] = [
  ...(['subjects', 'sessions'] as const).flatMap((table) =>
    (['SELECT', 'INSERT', 'UPDATE'] as const).map((privilege) => ({ table, privilege })),
  ),
  { table: 'outbox', privilege: 'INSERT' },
  { table: 'outbox', privilege: 'DELETE' },
  { table: 'session_events', privilege: 'INSERT' },
  { table: 'idempotency_keys', privilege: 'INSERT' },
  { table: 'api_keys', privilege: 'SELECT' },
  { table: 'tenants', privilege: 'SELECT' },
];

const migrateIfConfigured = async (config: SessionServiceConfig, log: Runtime['log']): Promise<void> => {
  if (config.migrate) await migrate(config.postgres.url, log);
};

const checkDatabase = async (postgres: Postgres, schema: SchemaMigration): Promise<void> => {
  if (!schema.isReady()) throw schema.lastError();
  await postgres.ping(NEEDED_PRIVILEGES);
};

/** State of the delivery of committed changes. */
const outboxHealth = (backlog: OutboxBacklog | undefined, now: number): object => {
  if (backlog === undefined) return { status: 'unknown' };
  const { count, oldestAt = now } = backlog;
  return {
    status: count === 0 ? 'up' : 'down',
    waiting: count,
    oldest_s: Math.round((now - oldestAt) / 1000),
  };
};

const loadOf = (postgres: Postgres) => (): Record<string, number> => {
  const { total, idle, waiting, max } = postgres.stats();
  return { poolUsed: total - idle, poolWaiting: waiting, poolLimit: max };
};

const internalOnly =
  (app: (req: IncomingMessage, res: ServerResponse) => void) =>
  (req: IncomingMessage, res: ServerResponse): boolean => {
    if (!req.url?.startsWith('/internal/')) return false;
    app(req, res);
    return true;
  };
