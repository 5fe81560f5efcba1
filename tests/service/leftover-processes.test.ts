import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SETUP = join(ROOT, 'packages/testkit/src/leftover-processes.ts');
const LEAVES_ONE = `
import { spawn } from 'node:child_process';
import { test } from 'vitest';
test('leaves a process', () => {
  spawn(process.execPath, ['-e', 'setTimeout(() => {}, 600_000)'], { stdio: ['ignore', 'ignore', 'inherit'] });
});
`;

test('a test file that leaves a process behind fails with its name, and the run ends', () => {
  const directory = mkdtempSync(join(ROOT, 'tests/service/.leftover-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'leaves.test.ts'), LEAVES_ONE);
  const config = { test: { include: ['*.test.ts'], setupFiles: [SETUP] } };
  writeFileSync(join(directory, 'vitest.config.mjs'), `export default ${JSON.stringify(config)};`);
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const { VITEST: _, VITEST_POOL_ID: __, VITEST_WORKER_ID: ___, ...env } = process.env;
  const run = spawnSync(process.execPath, [vitest, 'run', '--root', directory], {
    env,
    encoding: 'utf8',
    timeout: 25_000,
  });
  expect(run.signal).toBe(null);
  expect(run.status).toBe(1);
  expect(`${run.stdout}${run.stderr}`).toMatch(/did not end the processes.*setTimeout/su);
});
