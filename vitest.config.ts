import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Real Redis and Postgres, started once for all projects that ask for them. */
const STORES = ['packages/testkit/src/global-setup.ts'];

/** A test file that leaves a process behind fails, and the process is killed. */
const PROCESSES = ['packages/testkit/src/leftover-processes.ts'];

/** These tests wait for other processes more than they compute: two files side by side even on two cores. */
const SIDE_BY_SIDE = Math.max(2, availableParallelism() - 1);

/** Chaos tests that bound times in milliseconds: nothing may run beside them. */
const MEASURED = ['detection', 'hostile-client', 'reconnect-storm', 'rebalance', 'session-end'].map(
  (name) => `tests/chaos/${name}.test.ts`,
);

/** Tests of one service or package against a real Redis and Postgres. */
const SERVICE_TESTS = [
  'gateway',
  'session',
  'aggregator',
  'kit',
  'client',
  'cli',
  'launcher',
  'observability',
  'contract',
];

/** In this order; what starts processes of its own runs alone, for the machine has to be its own. */
const PROJECTS: Record<string, { exclude?: string[]; [setting: string]: unknown }> = {
  // No network, no child process, no waiting: the whole project in seconds.
  unit: {
    include: ['packages/**/*.test.ts', 'services/**/*.test.ts', 'deploy/**/*.test.ts'],
    maxWorkers: '100%',
    // They take milliseconds; a machine that is busy with something else may not make them fail.
    testTimeout: 20_000,
    sequence: { groupOrder: 1 },
  },
  architecture: {
    include: ['tests/architecture/**/*.test.ts'],
    // The first test of a file parses the whole tree.
    testTimeout: 60_000,
    maxWorkers: '100%',
    sequence: { groupOrder: 1 },
  },
  // Real Redis and Postgres, one service at a time.
  service: {
    include: SERVICE_TESTS.map((name) => `tests/${name}/**/*.test.ts`),
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    maxWorkers: SIDE_BY_SIDE,
    sequence: { groupOrder: 2 },
  },
  // Several real processes.
  fleet: {
    include: ['tests/cluster/**/*.test.ts', 'tests/browser/**/*.test.ts', 'tests/bench/**/*.test.ts'],
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 60_000,
    hookTimeout: 180_000,
    fileParallelism: false,
    sequence: { groupOrder: 3 },
  },
  // Minutes of faults on whole fleets: `npm run test:chaos`. They wait more than they compute.
  chaos: {
    include: ['tests/chaos/**/*.test.ts'],
    exclude: MEASURED,
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 300_000,
    hookTimeout: 180_000,
    maxWorkers: SIDE_BY_SIDE,
    sequence: { groupOrder: 4 },
  },
  'chaos-measured': {
    include: MEASURED,
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 300_000,
    hookTimeout: 180_000,
    fileParallelism: false,
    sequence: { groupOrder: 5 },
  },
  // What the documents tell a reader to type: `npm run test:documents`.
  documents: {
    include: ['tests/documents/**/*.test.ts'],
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    sequence: { groupOrder: 6 },
  },
  // The fleet in containers: `npm run test:compose`.
  compose: {
    include: ['tests/compose/**/*.test.ts'],
    setupFiles: PROCESSES,
    testTimeout: 600_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    sequence: { groupOrder: 7 },
  },
  // A real control plane of Kubernetes, built with Go: `npm run test:kubernetes`.
  kubernetes: {
    include: ['tests/kubernetes/**/*.test.ts'],
    globalSetup: STORES,
    setupFiles: PROCESSES,
    testTimeout: 600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
    sequence: { groupOrder: 8 },
  },
};

export default defineConfig({
  test: {
    // `npm run coverage`. Child processes of the tests are not counted.
    coverage: {
      provider: 'v8',
      include: ['packages/*/src/**/*.{ts,tsx}', 'services/*/src/**/*.{ts,tsx}', 'deploy/*/src/**/*.ts'],
      exclude: ['**/*.test.ts', '**/console/**', 'packages/testkit/**'],
      reporter: ['text', 'json-summary'],
      reportsDirectory: '.muster/coverage',
    },
    projects: Object.entries(PROJECTS).map(([name, { exclude = [], ...test }]) => ({
      test: { name, ...test, exclude: ['**/node_modules/**', '**/dist/**', ...exclude] },
    })),
  },
});
