import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { test } from 'vitest';
import { openFaultyPostgres, openFaultyRedis } from './failure-modes/modes.ts';
import { compare, observeAll } from './failure-modes/surfaces.ts';
import { startTrio } from './failure-modes/trio.ts';

// One of each store; `tests/chaos` makes all of them.
const OF_REDIS = ['wrong password'];
const OF_POSTGRES = ['down'];
/** Each fault is waited for, and its end; on a busy machine that takes longer than other tests. */
const TIMEOUT_MS = 90_000;
const stores = useTestStores({ migrate });

test.concurrent(
  '[FM1] Redis that refuses the password is shown by every surface as the document says',
  async () => {
    await using redis = await openFaultyRedis();
    const places = { redisUrl: redis.url, redisPrefix: 'fm:', databaseUrl: stores.databaseUrl };
    await using trio = await startTrio(places);
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
  '[FM1] Postgres that is down is shown by every surface as the document says',
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
