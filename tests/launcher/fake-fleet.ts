import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalFleet, type LocalFleetOptions, startFleet } from '@muster/fleet/fleet';
import { startTimeOf } from '@muster/local/process-identity';
import { inject } from 'vitest';
import { FAKE_ENTRY_POINTS } from './entry-points.ts';

/** A fleet of fake services, and its output. */
export interface FakeFleet extends AsyncDisposable {
  readonly fleet: LocalFleet;
  readonly said: readonly string[];
}

/** A data directory for one test. */
export const temporaryDirectory = (): { path: string } & Disposable => {
  const path = mkdtempSync(join(tmpdir(), 'muster-launcher-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
};

/** Variables that make a fleet use the stores of the test run. */
export const sharedStores = (): Record<string, string> => {
  const { redisUrl, databaseUrl } = inject('storeBackend');
  return { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl };
};

/** Variables without stores: the fleet starts its own. */
export const ownStores = (): Record<string, string | undefined> => ({
  REDIS_URL: undefined,
  DATABASE_URL: undefined,
});

/** Starts a fleet of stand-ins on free ports. */
export const fakeFleet = async (
  dataDir: string,
  { env = {}, ...options }: Partial<LocalFleetOptions> = {},
): Promise<FakeFleet> => {
  const said: string[] = [];
  const fleet = await startFleet({
    dataDir,
    port: 0,
    basePort: 0,
    entryPoints: FAKE_ENTRY_POINTS,
    log: (line) => said.push(line),
    ...options,
    env: { ...process.env, ...sharedStores(), ...env },
  });
  return { fleet, said, [Symbol.asyncDispose]: () => fleet.stop() };
};

/** True while a process of that id exists and is not a zombie. */
export const isRunning = (pid: number): boolean => startTimeOf(pid) !== undefined;
