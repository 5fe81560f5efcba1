import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFilesLimit } from '@muster/local/haproxy';
import { freePorts } from '@muster/local/ports';
import { dockerAnswers } from '@muster/testkit/docker';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { ROOT, repositoryFiles } from '../architecture/source-files.ts';
import { runnableBlocks } from './blocks.ts';
import { runBlocks } from './shell.ts';

const BLOCK_TIMEOUT_MS = 600_000;
const OPEN_FILES = 131_072;
const documents = repositoryFiles()
  .filter((path) => path.endsWith('.md'))
  .filter((path) => runnableBlocks(path, ['compose']).length > 0);

const hasEngine = await dockerAnswers(process.env);
if (!hasEngine) {
  process.stdout.write('documents: SKIPPED: no Docker engine answers, and no "sh compose" block has been run\n');
}

describe.skipIf(!hasEngine)('documents about containers', () => {
  let env: NodeJS.ProcessEnv;
  let scratch = '';
  const compose = (...args: readonly string[]) =>
    execFileSync('docker', ['compose', ...args], { cwd: ROOT, env, stdio: 'ignore' });
  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    env = {
      ...process.env,
      ...{ COMPOSE_PROJECT_NAME: 'muster-documents', MUSTER_VERSION: 'test', MUSTER_PORT: String(port) },
      ...{ PUBLIC_URL: url, ALLOWED_ORIGINS: url, BUILDKIT_PROGRESS: 'plain' },
      MUSTER_NOFILE: String(Math.min(OPEN_FILES, openFilesLimit())),
    };
    scratch = mkdtempSync(join(tmpdir(), 'muster-compose-'));
    compose('down', '--volumes', '--remove-orphans', '--timeout', '5');
    compose('build');
    compose('up', '--detach', '--wait');
  });
  afterAll(() => {
    if (scratch === '') return;
    compose('down', '--volumes', '--remove-orphans', '--timeout', '5');
    rmSync(scratch, { recursive: true, force: true });
  });

  test.each(documents)('[DC4] the blocks of %s run as documented', async (document) => {
    await runBlocks(runnableBlocks(document, ['compose']), {
      ...{ cwd: ROOT, env, scratch, blockTimeoutMs: BLOCK_TIMEOUT_MS },
      // Files that the blocks create are not written to the checkout.
      replacements: new Map([['muster.dump', join(scratch, 'muster.dump')]]),
    });
  });
});
