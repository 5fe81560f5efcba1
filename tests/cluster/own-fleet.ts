import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Fleet, startFleet } from '@muster/fleet/fleet';

/** A whole fleet of its own, on free ports and in a directory that goes away with it. */
export const ownFleet = async (
  env: Record<string, string> = {},
  gateways = 2,
  aggregators = 1,
): Promise<Fleet> => {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-fleet-'));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...inherited } = process.env;
  const fleet = await startFleet({
    env: { ...inherited, ...env },
    dataDir,
    gateways,
    aggregators,
    port: 0,
    basePort: 0,
  });
  return {
    ...fleet,
    [Symbol.asyncDispose]: async () => {
      await fleet.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
};
