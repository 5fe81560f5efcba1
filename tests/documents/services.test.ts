import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { freePorts } from '@muster/local/ports';
import { useTestStores } from '@muster/testkit/stores';
import { expect, test } from 'vitest';
import { ROOT, repositoryFiles } from '../architecture/source-files.ts';
import { runnableBlocks } from './blocks.ts';
import { runBlocks } from './shell.ts';

const START_TIMEOUT_MS = 30_000;
const stores = useTestStores();
const documents = repositoryFiles()
  .filter((path) => path.endsWith('.md'))
  .filter((path) => runnableBlocks(path, ['stores']).length > 0);

test('there are documents that start a service by hand', () => {
  expect(documents.length).toBeGreaterThanOrEqual(3);
});

test.each(documents)('[DC4] the blocks of %s start the service as documented', async (document) => {
  const scratch = mkdtempSync(join(tmpdir(), 'muster-service-'));
  const [port = 0, opsPort = 0] = await freePorts(2);
  try {
    await runBlocks(runnableBlocks(document, ['stores']), {
      cwd: join(ROOT, dirname(document)),
      env: {
        ...process.env,
        PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
        PORT: String(port),
        OPS_PORT: String(opsPort),
        REDIS_PREFIX: stores.redisPrefix,
      },
      scratch,
      blockTimeoutMs: START_TIMEOUT_MS,
      replacements: new Map([
        ['postgres://localhost/muster', stores.databaseUrl],
        ['REDIS_URL=redis://localhost ', `REDIS_URL=${stores.redisUrl} `],
        ['REDIS_URL=redis://127.0.0.1:6379 ', `REDIS_URL=${stores.redisUrl} `],
        ['localhost:8100', `localhost:${port}`],
        ['localhost:8080', `localhost:${port}`],
      ]),
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
