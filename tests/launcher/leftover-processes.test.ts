import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openTestDirectory } from '@muster/testkit/test-directory';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CONFIG = {
  test: {
    globals: true,
    include: ['*.test.ts'],
    setupFiles: [join(ROOT, 'packages/testkit/src/leftover-processes.ts')],
  },
};
const LEAVES_ONE = `
import { spawn } from 'node:child_process';
test('leaves a process', () => {
  spawn(process.execPath, ['-e', 'setTimeout(() => {}, 600_000)'], { stdio: ['ignore', 'ignore', 'inherit'] });
});
`;

test('[TS8] a test file that leaves a process behind fails with its command line, and the run ends', async () => {
  await using directory = await openTestDirectory();
  writeFileSync(join(directory.path, 'leaves.test.ts'), LEAVES_ONE);
  writeFileSync(join(directory.path, 'vitest.config.mjs'), `export default ${JSON.stringify(CONFIG)};`);
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const { VITEST: _, VITEST_POOL_ID: __, VITEST_WORKER_ID: ___, ...env } = process.env;
  const run = spawnSync(process.execPath, [vitest, 'run', '--root', directory.path], {
    env,
    encoding: 'utf8',
    timeout: 25_000,
  });
  expect(run.signal).toBe(null);
  expect(run.status).toBe(1);
  expect(`${run.stdout}${run.stderr}`).toMatch(/did not end its child processes.*setTimeout/su);
});
