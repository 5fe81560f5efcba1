import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, runAttached } from './processes.mjs';

const RESULTS = join(ROOT, '.muster', 'test-results.json');

/** Projects of `npm test`; the other projects of vitest.config.ts have commands of their own. */
const EVERYDAY = ['unit', 'architecture', 'service', 'fleet'];

/** Runs lint, types and tests; stops at the first failure, and prints how many tests passed and failed. */
export const runTests = (tools, args) =>
  runSteps(tools, [
    ['lint', 'biome', ['check', '.']],
    ['documents', 'prettier', ['--check', '.']],
    ['types', 'tsc', []],
    ['tests', 'vitest', vitestArguments(EVERYDAY, args)],
  ]);

/** Runs a long suite that `npm test` omits: the projects of vitest.config.ts with this prefix. */
export const runSuite = (tools, project, args) =>
  runSteps(tools, [['tests', 'vitest', vitestArguments([`${project}*`], args)]]);

/** Unit and service tests with the coverage of the sources (v8), printed and in `.muster/coverage`. */
export const runCoverage = (tools, args) =>
  runSteps(tools, [['tests', 'vitest', vitestArguments(['unit', 'service'], ['--coverage.enabled', ...args])]]);

const runSteps = async ({ env }, steps) => {
  rmSync(RESULTS, { force: true });
  mkdirSync(join(ROOT, '.muster'), { recursive: true });
  for (const [name, program, programArgs] of steps) {
    process.stdout.write(`\n── ${name}: ${program} ${programArgs.join(' ')}\n`);
    const startedAt = performance.now();
    const code = await runAttached(join(ROOT, 'node_modules', '.bin', program), programArgs, { env });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    process.stdout.write(`── ${name}: ${code === 0 ? 'ok' : `failed (exit code ${code})`} after ${seconds} s\n`);
    if (name === 'tests' || code !== 0) printCount();
    if (code !== 0) return code;
  }
  return 0;
};

const vitestArguments = (projects, args) => [
  'run',
  ...(args.includes('--project') ? [] : projects.flatMap((project) => ['--project', project])),
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${RESULTS}`,
  ...args,
];

const printCount = () => {
  const { passed, failed } = readCount();
  process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
};

/** A step that failed before any test, and a file that failed to load, count as one failure each. */
const readCount = () => {
  let results;
  try {
    results = JSON.parse(readFileSync(RESULTS, 'utf8'));
  } catch {
    return { passed: 0, failed: 1 };
  }
  const broken = results.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  return { passed: results.numPassedTests, failed: results.numFailedTests + broken.length };
};
