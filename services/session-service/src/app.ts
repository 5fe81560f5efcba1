import type { IncomingMessage, ServerResponse } from 'node:http';
import { createHttpApp } from '@muster/http/app';
import { listen } from '@muster/http/listen';
import { sleep } from '@muster/kit/clock';
import { createHeartbeat } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth } from '@muster/kit/health';
import { createMetrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import type { ProcessInfo } from '@muster/kit/probes';
import { openRedis } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run';
import type { Runtime } from '@muster/kit/runtime';
import { type Composition, compose } from './composition.ts';
import type { SessionServiceConfig } from './config.ts';
import { createKeyRing } from './core/key-ring.ts';
import type { OutboxBacklog } from './core/outbox-relay.ts';
import { internalRoutes } from './http/internal-routes.ts';
import { createServer } from './http/server.ts';
import { reportKeyAges } from './metrics.ts';
import { migrate } from './postgres/migrate.ts';
import { openPostgres, type Postgres, type Privilege } from './postgres/pool.ts';
import { translateErrors } from './postgres/postgres-errors.ts';
import { type SchemaMigration, startSchemaMigration } from './postgres/schema-migration.ts';
import { createKeyAges } from './signing-key-ages.ts';

const SERVICE = 'session-service';

/** A running session service and where it listens. */
export interface SessionServiceApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
  /** Takes over the signing keys of a configuration that was read again. */
  reload(config: SessionServiceConfig): void;
}

/** Opens stores, wires the rules to them, opens both ports, and at last beats. Starts without its stores, too. */
export const createApp = async (config: SessionServiceConfig, world: Runtime): Promise<SessionServiceApp> => {
  const { common } = config;
  const { clock, log } = world;
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const applicationName = `sessions@${common.instanceName}`;
  const postgres = translateErrors(
    stack.use(openPostgres({ ...config.postgres, applicationName }, { log, metrics })),
  );
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  const schema = stack.use(await startSchemaMigration(() => migrated(config, log), log));
  const ring = createKeyRing(config.sessionSecrets);
  const sightings = createKeyAges({ redis, clock, log });
  sightings.track(config.sessionSecrets);
  reportKeyAges(metrics, sightings);
  const engine = compose(config, world, { redis, postgres, metrics, ring }, stack);
  if (schema.isReady()) await engine.connections.requireBudget();
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
      outbox: outboxHealth(engine.relay.backlog(), clock.now()),
    }),
  };
  const { context } = engine;
  const { host, trustedProxies } = { ...common, ...config };
  const app = createServer({ context, health, about, clock, log, metrics, trustedProxies });
  const routes = internalRoutes({ ...engine, internalApiKey: config.internalApiKey });
  const handle = internalOnly(createHttpApp({ log, metrics, routes }));
  const open = stack.use(await listen(app, { host, port: common.port }));
  const ops = stack.use(
    await openOpsServer({ host, port: common.opsPort, health, about, metrics, clock, log, handle }),
  );
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port: open.port, opsPort: ops.port, clock });
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
  stack.use(watchLocalFaults({ ...world, health, instance, metrics, aggregators, afterMs }));
  const load = loadOf(postgres);
  stack.use(createHeartbeat({ ...world, redis, instance, health, load, intervalMs, ttlMs }));
  log.info({ port: open.port, opsPort: ops.port }, 'session_service.ready');
  const owned = stack.move();
  return {
    port: open.port,
    opsPort: ops.port,
    reload: ({ sessionSecrets }) => {
      ring.replace(sessionSecrets);
      sightings.track(sessionSecrets);
      log.info({ keys: sessionSecrets.length }, 'session_service.reloaded');
    },
    drain: async (signal) => {
      health.startDraining();
      await sleep(config.drainDelayMs, signal);
      await flush(engine);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

/** What no login, check or sign-out can do without. */
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

const migrated = async (config: SessionServiceConfig, log: Runtime['log']): Promise<void> => {
  if (config.migrate) await migrate(config.postgres.url, log);
};

const checkDatabase = async (postgres: Postgres, schema: SchemaMigration): Promise<void> => {
  if (!schema.isReady()) throw schema.lastError();
  await postgres.ping(NEEDED_PRIVILEGES);
};

/** Whether what is committed reaches the fleet. */
const outboxHealth = (waiting: OutboxBacklog | undefined, now: number): object => {
  if (waiting === undefined) return { status: 'unknown' };
  const { count, oldestAt = now } = waiting;
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

/** What a crash would have left to the other replicas is delivered before we go. */
const flush = async ({ relay }: Composition): Promise<void> => {
  await relay.runOnce();
};

const internalOnly =
  (app: (req: IncomingMessage, res: ServerResponse) => void) =>
  (req: IncomingMessage, res: ServerResponse): boolean => {
    if (!req.url?.startsWith('/internal/')) return false;
    app(req, res);
    return true;
  };
