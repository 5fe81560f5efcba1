import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { openPostgres, type Postgres } from '@muster/session-service/postgres/pool';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { testStores } from '@muster/testkit/stores';
import { openUnresponsiveServer } from '@muster/testkit/unresponsive-server';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const NAME = `kit-connections-${process.pid}`;
let stack: AsyncDisposableStack;
let databaseUrl = '';

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  databaseUrl = stack.use(await testStores()).databaseUrl;
});
afterAll(() => stack.disposeAsync());

const world = () => ({ log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) });
const open = (url: string, pool: { poolSize: number; maxOverflow: number }, name = NAME): Postgres =>
  openPostgres({ url, ...pool, poolTimeoutMs: 30_000, preparedStatements: true, applicationName: name }, world());
/** How long it takes until this holds, in seconds. */
const secondsUntil = async (holds: () => Promise<boolean>, what: string): Promise<number> => {
  const begun = performance.now();
  await until(holds, { ok: Boolean, what, timeoutMs: 20_000 });
  return (performance.now() - begun) / 1000;
};

// Each of these waits for the clock, and none needs the processor.
describe.concurrent('connections', () => {
  test('[DB10] given a Postgres that does not respond, a connection attempt ends after five seconds', async () => {
    await using hole = await openUnresponsiveServer();
    await using postgres = open(`postgres://any:secret@127.0.0.1:${hole.port}/any`, {
      poolSize: 1,
      maxOverflow: 0,
    });
    const query = postgres.query('any', 'SELECT 1').catch((error: unknown) => error);
    const seconds = await secondsUntil(async () => postgres.stats().total === 0, 'the place to be free');
    expect(seconds).toBeGreaterThan(4.9);
    expect(seconds).toBeLessThan(6);
    // The request itself did not wait for that.
    expect(await query).toMatchObject({ code: 'OVERLOADED' });
  });

  test('[RD11] given a Redis that does not respond, a connection attempt ends after the connect timeout', async () => {
    await using hole = await openUnresponsiveServer();
    const config = {
      url: `redis://127.0.0.1:${hole.port}`,
      prefix: 't:',
      maxConnections: 5,
      connectTimeoutMs: 5_000,
      commandTimeoutMs: 500,
    };
    const begun = performance.now();
    await using redis = await openRedis({ ...config, name: NAME }, world());
    const opened = (performance.now() - begun) / 1000;
    expect(opened).toBeGreaterThan(4.9);
    expect(opened).toBeLessThan(6);
    await until(() => redis.ping().catch((error: unknown) => String(error)), {
      ok: (said) => String(said).includes('ETIMEDOUT'),
      what: 'the cause',
    });
    const again = performance.now();
    await new Promise((resolve) => redis.dedicated('sub').once('close', resolve));
    const seconds = (performance.now() - again) / 1000;
    expect(seconds).toBeGreaterThan(4.9);
    expect(seconds).toBeLessThan(6);
  });

  test('[DB11] given a burst, the pool grows to 15 and closes the surplus after ten seconds', async () => {
    await using watcher = open(databaseUrl, { poolSize: 1, maxOverflow: 0 }, `${NAME}-watcher`);
    const countAtServer = async (): Promise<number> =>
      (
        await watcher.query<{ count: number }>(
          'count',
          'SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = $1',
          [NAME],
        )
      )[0]?.count ?? 0;
    await using postgres = open(databaseUrl, { poolSize: 10, maxOverflow: 5 });
    const burst = Array.from({ length: 40 }, () => postgres.query('sleep', 'SELECT pg_sleep(0.4)'));
    await until(countAtServer, { ok: (count) => count === 15, what: 'fifteen connections' });
    expect(postgres.stats()).toMatchObject({ total: 15, max: 15 });
    await Promise.all(burst);
    const seconds = await secondsUntil(async () => (await countAtServer()) < 15, 'a surplus to be closed');
    expect(seconds).toBeGreaterThan(9);
    expect(seconds).toBeLessThan(13);
    await until(countAtServer, { ok: (count) => count <= 10, what: 'ten connections' });
    expect(await countAtServer()).toBe(10);
    expect(postgres.stats()).toMatchObject({ total: 10, idle: 10, waiting: 0 });
  });
});
