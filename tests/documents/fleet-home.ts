import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type LocalFleet, startFleet } from '@muster/fleet/fleet';
import type { FleetDescription, FleetMember } from '@muster/fleet/fleet-description';
import { freePorts } from '@muster/local/ports';
import { ROOT } from '../architecture/source-files.ts';
import { type Mark, type Runnable, runnableBlocks } from './blocks.ts';
import { runBlocks } from './shell.ts';

/** Ports in the documents. */
const PUBLIC_PORT = 8_080;
const FIRST_PORTS = { sessionServices: 8_100, gateways: 8_200, healthAggregators: 8_300 } as const;
const OPS_OFFSET = 1_000;
/** Port of the example application. */
const EXAMPLE_PORT = 8_090;

/** A directory with the content of a checkout, and a fleet. */
export interface FleetHome extends AsyncDisposable {
  readonly fleet: LocalFleet;
  /** Directory with links to the files of the checkout. */
  readonly directory: string;
  /** Runs the blocks of a document that have one of `marks`; resolves with the output of each. */
  runDocument(document: string, marks: readonly Mark[], slow: boolean): Promise<ReadonlyMap<Runnable, string>>;
}

/** Starts the fleet in a directory with the content of a checkout and its own `.muster`. */
export const startFleetHome = async (): Promise<FleetHome> => {
  const home = mkdtempSync(join(tmpdir(), 'muster-documents-'));
  for (const entry of readdirSync(ROOT)) {
    if (entry !== '.muster' && entry !== '.git') symlinkSync(join(ROOT, entry), join(home, entry));
  }
  mkdirSync(join(home, '.muster'));
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...inherited } = process.env;
  const fleet = await startFleet({
    env: inherited,
    dataDir: join(home, '.muster'),
    ...{ gateways: 2, port: 0, basePort: 0 },
  });
  const [examplePort = 0] = await freePorts(1);
  const { serviceApiKey, serverApiKey, opsToken } = fleet.describe();
  const env = {
    ...inherited,
    PATH: `${dirname(process.execPath)}:${inherited['PATH']}`,
    SERVICE_API_KEY: serviceApiKey,
    SERVER_API_KEY: serverApiKey,
    OPS_TOKEN: opsToken,
    PORT: String(examplePort),
  };
  const replacements = new Map([
    ...addressesOf(fleet.describe()),
    [`127.0.0.1:${EXAMPLE_PORT}`, `127.0.0.1:${examplePort}`],
  ]);

  return {
    fleet,
    directory: home,
    runDocument: async (document, marks, slow) => {
      const blocks = runnableBlocks(document, marks).filter(({ isSlow }) => slow || !isSlow);
      return runBlocks(blocks, {
        ...{ cwd: realpathSync(home), env, replacements, isQuick: !slow },
        scratch: join(home, '.muster', 'blocks'),
      });
    },
    [Symbol.asyncDispose]: async () => {
      await fleet.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
};

/** `localhost:8200` in a document is the first gateway, and so on. */
const addressesOf = (fleet: FleetDescription): ReadonlyMap<string, string> => {
  const members = (kind: keyof typeof FIRST_PORTS): [number, string][] =>
    fleet[kind].flatMap(({ url, opsUrl }: FleetMember, index) => [
      [FIRST_PORTS[kind] + index, url],
      [FIRST_PORTS[kind] + index + OPS_OFFSET, opsUrl],
    ]);
  const all: [number, string][] = [
    [PUBLIC_PORT, fleet.publicUrl],
    ...members('sessionServices'),
    ...members('gateways'),
    ...members('healthAggregators'),
  ];
  return new Map(
    all.flatMap(([port, url]) =>
      ['127.0.0.1', 'localhost'].map((host) => [`${host}:${port}`, new URL(url).host] as const),
    ),
  );
};
