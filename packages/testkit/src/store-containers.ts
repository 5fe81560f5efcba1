import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import type { StartedTestContainer } from 'testcontainers';

const REDIS_IMAGE = 'redis:8-alpine';
const POSTGRES_IMAGE = 'postgres:17-alpine';
const REDIS_PORT = 6379;
const POSTGRES_PORT = 5432;
const STARTUP_TIMEOUT_MS = 120_000;
const REACH_TIMEOUT_MS = 500;

/** Two stores, and how to reach them. */
export interface RunningStores extends AsyncDisposable {
  readonly redisUrl: string;
  /** Of any database of the server; its user may make others. */
  readonly databaseUrl: string;
}

/** Redis and Postgres in containers of their own, started side by side. Rejects when they are not there in time. */
export const startStoreContainers = async (): Promise<RunningStores> => {
  // Loaded late: it takes a second, which nobody without a Docker engine should wait.
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
    // The image starts Postgres twice: once to set itself up, once for us.
    .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
    .withStartupTimeout(STARTUP_TIMEOUT_MS);

  const started = await Promise.allSettled([redis.start(), postgres.start()]);
  const running = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const stop = async () => void (await Promise.all(running.map((one) => one.stop())));
  const [redisContainer, postgresContainer] = running;
  if (redisContainer === undefined || postgresContainer === undefined) {
    await stop();
    throw new AggregateError(
      started.flatMap((one) => (one.status === 'rejected' ? [one.reason] : [])),
      'the containers could not be started',
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

/** Published ports are on loopback unless the engine is elsewhere, whatever else this machine looks like. */
const addressOf = async (container: StartedTestContainer, inside: number): Promise<string> => {
  const port = container.getMappedPort(inside);
  return (await isReachable(port)) ? `127.0.0.1:${port}` : `${container.getHost()}:${port}`;
};

const isReachable = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(REACH_TIMEOUT_MS, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('connect', () => answer(true));
  });
