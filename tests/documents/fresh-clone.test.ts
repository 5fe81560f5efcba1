import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isPortFree } from '@muster/local/ports';
import { expect, test } from 'vitest';
import { ROOT } from '../architecture/source-files.ts';
import { runnableBlocks } from './blocks.ts';
import { runBlocks } from './shell.ts';

/** Below the ephemeral ports of the system. */
const FIRST_BASE = 20_000;
const LAST_BASE = 30_000;
const SPAN = 1_400;
const START_TIMEOUT_MS = 600_000;

/** A free range for `--base-port`, and a free port for the load balancer. */
const freeRange = async (): Promise<{ base: number; port: number }> => {
  for (let base = FIRST_BASE + (process.pid % 1_000); base < LAST_BASE; base += SPAN) {
    const wanted = [0, 100, 101, 200, 300, 301, 1_000, 1_100, 1_101, 1_200, SPAN - 1].map((each) => base + each);
    const free = await Promise.all(wanted.map((port) => isPortFree(port)));
    if (free.every(Boolean)) return { base, port: base + SPAN - 1 };
  }
  throw new Error(`no range of ports between ${FIRST_BASE} and ${LAST_BASE} is free`);
};

test('[DC4] in a fresh clone the tour of README.md runs as documented, from npm start on', async () => {
  const home = mkdtempSync(join(tmpdir(), 'muster-clone-'));
  try {
    execFileSync('git', ['clone', '--quiet', ROOT, home]);
    const { base, port } = await freeRange();
    const blocks = runnableBlocks('README.md', ['run', 'fleet']);
    const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
    const written = await runBlocks(blocks, {
      ...{ cwd: home, env, blockTimeoutMs: START_TIMEOUT_MS },
      scratch: join(home, '.muster', 'blocks'),
      replacements: new Map([
        ['127.0.0.1:8080', `127.0.0.1:${port}`],
        ['127.0.0.1:8200', `127.0.0.1:${base + 100}`],
        ['npm start', `npm start -- --port ${port} --base-port ${base}`],
      ]),
    });
    const clients = [...written].filter(([{ code }]) => code.includes('tests/tour/'));
    expect(clients.map(([, output]) => /closed: (\d+)/.exec(output)?.[1])).toEqual(['4501', '4501']);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
