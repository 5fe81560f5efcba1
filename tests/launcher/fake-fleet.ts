import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalFleet, type LocalFleetOptions, startFleet } from '@muster/fleet/fleet';
import { startTimeOf } from '@muster/local/process-identity';
import { inject } from 'vitest';
import { FAKE_ENTRY_POINTS } from './entry-points.ts';

/** A fleet of fake services, and the lines that it logged. */
export interface FakeFleet extends AsyncDisposable {
  readonly fleet: LocalFleet;
  readonly logLines: readonly string[];
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

/** Starts a fleet of fake services on free ports. */
export const fakeFleet = async (
  dataDir: string,
  { env = {}, ...options }: Partial<LocalFleetOptions> = {},
): Promise<FakeFleet> => {
  const logLines: string[] = [];
  const fleet = await startFleet({
    dataDir,
    port: 0,
    basePort: 0,
    entryPoints: FAKE_ENTRY_POINTS,
    log: (line) => logLines.push(line),
    ...options,
    env: { ...process.env, ...sharedStores(), ...env },
  });
  return { fleet, logLines, [Symbol.asyncDispose]: () => fleet.stop() };
};

/** True while a process with this id exists and has not exited. */
export const isRunning = (pid: number): boolean => startTimeOf(pid) !== undefined;
