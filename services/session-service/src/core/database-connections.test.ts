import { expect, test } from 'vitest';
import {
  connectionBudget,
  diagnoseConnections,
  type PoolUsage,
  type ServerConnections,
} from './database-connections.ts';

const POOL: PoolUsage = { total: 10, idle: 8, waiting: 0, max: 15, oldestCheckout: undefined };
const SERVER: ServerConnections = {
  maxConnections: 100,
  reserved: 3,
  clients: [{ application: 'sessions@one', state: 'idle', count: 16, oldestS: 3_000 }],
};
const REDIS = { connected: 20, maxClients: 10_000, rejected: 0 };
const FLEET = { poolSize: 10, maxOverflow: 5 };
const fits = connectionBudget({ ...FLEET, replicas: 3, surge: 1 }, SERVER);
const verdicts = (report: Partial<Parameters<typeof diagnoseConnections>[0]>) =>
  diagnoseConnections({ pool: POOL, budget: fits, postgres: SERVER, redis: REDIS, ...report }).map(
    ({ verdict }) => verdict,
  );

test('[DG1] given replicas and pool sizes, the budget has the calculation as text', () => {
  expect(fits).toMatchObject({ needed: 66, allowed: 77, fits: true });
  expect(connectionBudget({ ...FLEET, replicas: 3, surge: 3 }, SERVER)).toMatchObject({
    needed: 98,
    fits: false,
  });
  expect(fits.sum).toBe(
    '(3 replicas + 1 during a rollout) × (10 pool + 5 overflow + 1 probe) + 2 others = 66 ≤ 77 = 80 % of (100 max_connections − 3 reserved)',
  );
});

test('[DG2] given one cause at a time, it is the finding; a healthy fleet has none', () => {
  expect(verdicts({})).toEqual(['ok']);
  const held = { ageMs: 11_000, holder: 'evict (end-sessions.ts:40)' };
  expect(verdicts({ pool: { ...POOL, oldestCheckout: held } })).toEqual(['leak']);
  expect(verdicts({ pool: { ...POOL, total: 15, idle: 0, waiting: 7 } })).toEqual(['pool_exhausted']);
  expect(verdicts({ budget: { ...fits, fits: false } })).toEqual(['fleet_too_large']);
  const stuck = { application: 'report', state: 'idle in transaction', count: 2, oldestS: 400 };
  expect(verdicts({ postgres: { ...SERVER, clients: [stuck] } })).toEqual(['idle_in_transaction']);
  const crowd = { application: '', state: 'active', count: 40, oldestS: 1 };
  expect(verdicts({ postgres: { ...SERVER, clients: [crowd] } })).toEqual(['foreign_clients']);
  expect(verdicts({ redis: { ...REDIS, rejected: 4 } })).toEqual(['redis_rejects']);
  expect(verdicts({ postgres: undefined })).toEqual(['unknown']);
});

test('[DG2] given a leak, the remedy names its holder', () => {
  const held = { ageMs: 61_000, holder: 'evict (end-sessions.ts:40)' };
  const [finding] = diagnoseConnections({
    pool: { ...POOL, oldestCheckout: held },
    budget: fits,
    postgres: SERVER,
    redis: REDIS,
  });
  expect(finding?.advice).toBe(
    'A connection of this replica has been checked out for 61 s by evict (end-sessions.ts:40).',
  );
});
