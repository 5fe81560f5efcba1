import { randomBytes } from 'node:crypto';
import { acceptsConnections } from '@muster/local/ports';
import type { StartedTestContainer } from 'testcontainers';

const REDIS_IMAGE = 'redis:8-alpine';
const POSTGRES_IMAGE = 'postgres:17-alpine';
const REDIS_PORT = 6379;
const POSTGRES_PORT = 5432;
const STARTUP_TIMEOUT_MS = 120_000;

/** URLs of a running Redis and Postgres. */
export interface RunningStores extends AsyncDisposable {
  readonly redisUrl: string;
  /** Any database of the server; its user may create others. */
  readonly databaseUrl: string;
}

/** Redis and Postgres in containers, started concurrently. Rejects when they are not ready in time. */
export const startStoreContainers = async (): Promise<RunningStores> => {
  // Loaded on demand: the import takes a second.
  const [{ Wait }, { RedisContainer }, { PostgreSqlContainer }] = await Promise.all([
    import('testcontainers'),
    import('@testcontainers/redis'),
    import('@testcontainers/postgresql'),
  ]);
  const password = randomBytes(12).toString('hex');
  const redis = new RedisContainer(REDIS_IMAGE)
    .withCommand(['redis-server', '--save', '', '--appendonly', 'no'])
    .withStartupTimeout(STARTUP_TIMEOUT_MS);
  const postgres = new PostgreSqlContainer(POSTGRES_IMAGE)
    .withDatabase('muster')
    .withUsername('muster')
    .withPassword(password)
    .withTmpFs({ '/var/lib/postgresql/data': 'rw' })
    .withCommand(['postgres', '-c', 'fsync=off', '-c', 'max_connections=300'])
    // The image starts Postgres twice: for its setup, then for use.
    .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
    .withStartupTimeout(STARTUP_TIMEOUT_MS);

  const started = await Promise.allSettled([redis.start(), postgres.start()]);
  const running = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const stop = async () => void (await Promise.all(running.map((container) => container.stop())));
  const [redisContainer, postgresContainer] = running;
  if (redisContainer === undefined || postgresContainer === undefined) {
    await stop();
    throw new AggregateError(
      started.flatMap((result) => (result.status === 'rejected' ? [result.reason] : [])),
      'the containers of Redis and Postgres could not be started',
    );
  }
  const [redisAt, postgresAt] = await Promise.all([
    addressOf(redisContainer, REDIS_PORT),
    addressOf(postgresContainer, POSTGRES_PORT),
  ]);
  return {
    redisUrl: `redis://${redisAt}`,
    databaseUrl: `postgres://muster:${password}@${postgresAt}/muster`,
    [Symbol.asyncDispose]: stop,
  };
};

/** Published ports are on loopback unless the engine is remote. */
const addressOf = async (container: StartedTestContainer, inside: number): Promise<string> => {
  const port = container.getMappedPort(inside);
  return (await acceptsConnections(port)) ? `127.0.0.1:${port}` : `${container.getHost()}:${port}`;
};
