import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { test } from 'vitest';
import { openFaultyPostgres, openFaultyRedis } from '../observability/failure-modes/modes.ts';
import { observeSessionService } from '../observability/failure-modes/session-service.ts';
import { compare, observeAll } from '../observability/failure-modes/surfaces.ts';
import { startTrio } from '../observability/failure-modes/trio.ts';

const stores = useTestStores({ migrate });

// Side by side: they wait more than they compute, and neither touches the stores of the other.
test.concurrent('[FM1] each failure of Redis is shown by every surface as documented', async () => {
  await using redis = await openFaultyRedis();
  const places = { redisUrl: redis.url, redisPrefix: 'fm:', databaseUrl: stores.databaseUrl };
  await using trio = await startTrio(places);
  compare('redis', await observeAll(trio, 'redis', redis.modes));
});

test.concurrent('[FM1] each failure of Postgres is shown by every surface as documented', async () => {
  await using postgres = await openFaultyPostgres();
  const { redisUrl, redisPrefix } = stores;
  await using trio = await startTrio({ databaseUrl: postgres.url, redisUrl, redisPrefix });
  compare('database', await observeAll(trio, 'database', postgres.modes));
});

test.concurrent('[FM1] each failure of the session service is shown by every surface as documented', async () => {
  compare('session_service', await observeSessionService(stores));
});
