import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { test } from 'vitest';
import { openFaultyPostgres, openFaultyRedis } from './failure-modes/modes.ts';
import { compare, observeAll } from './failure-modes/surfaces.ts';
import { startTrio } from './failure-modes/trio.ts';

// One failure mode per store; `tests/chaos` covers all modes.
const OF_REDIS = ['wrong password'];
const OF_POSTGRES = ['down'];
/** The test waits for each fault and for the recovery; longer than other tests on a busy machine. */
const TIMEOUT_MS = 90_000;
const stores = useTestStores({ migrate });

test.concurrent(
  '[FM1] when Redis rejects the password, every surface shows it as documented',
  async () => {
    await using redis = await openFaultyRedis();
    const addresses = { redisUrl: redis.url, redisPrefix: 'fm:', databaseUrl: stores.databaseUrl };
    await using trio = await startTrio(addresses);
    compare(
      'redis',
      await observeAll(
        trio,
        'redis',
        redis.modes.filter(({ name }) => OF_REDIS.includes(name)),
      ),
    );
  },
  TIMEOUT_MS,
);

test.concurrent(
  '[FM1] when Postgres is down, every surface shows it as documented',
  async () => {
    await using postgres = await openFaultyPostgres();
    const { redisUrl, redisPrefix } = stores;
    await using trio = await startTrio({ databaseUrl: postgres.url, redisUrl, redisPrefix });
    compare(
      'database',
      await observeAll(
        trio,
        'database',
        postgres.modes.filter(({ name }) => OF_POSTGRES.includes(name)),
      ),
    );
  },
  TIMEOUT_MS,
);
