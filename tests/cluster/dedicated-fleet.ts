import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalFleet, startFleet } from '@muster/fleet/fleet';

/** Replicas end without waiting for the load balancer to notice. */
const NO_DRAIN_DELAY = { DRAIN_ACCEPT_MS: '0', DRAIN_DELAY_MS: '0' };

/** A whole fleet of its own, on free ports and in a directory that goes away with it. Commands find it from the parent of `dataDir`. */
export const startDedicatedFleet = async (
  env: Record<string, string> = {},
  gateways = 2,
  aggregators = 1,
  sessions = 1,
  direct = false,
): Promise<LocalFleet> => {
  const home = mkdtempSync(join(tmpdir(), 'muster-fleet-'));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...inherited } = process.env;
  const fleet = await startFleet({
    env: { ...inherited, ...NO_DRAIN_DELAY, ...env },
    dataDir: join(home, '.muster'),
    gateways,
    aggregators,
    sessions,
    direct,
    port: 0,
    basePort: 0,
  });
  return {
    ...fleet,
    [Symbol.asyncDispose]: async () => {
      await fleet.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
};
