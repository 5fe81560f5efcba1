import { defineConfig } from 'vitest/config';

/** Real Redis and Postgres, started once for all projects that ask for them. */
const STORES = ['packages/testkit/src/global-setup.ts'];

/** In this order; what starts processes of its own runs alone, for the machine has to be its own. */
const PROJECTS: Record<string, object> = {
  // No network, no child process, no waiting: the whole project in seconds.
  unit: {
    include: ['packages/**/*.test.ts', 'services/**/*.test.ts', 'deploy/**/*.test.ts'],
    sequence: { groupOrder: 0 },
  },
  architecture: { include: ['tests/architecture/**/*.test.ts'], sequence: { groupOrder: 0 } },
  // Real Redis and Postgres, one service at a time.
  service: {
    include: ['tests/service/**/*.test.ts', 'tests/contract/**/*.test.ts'],
    globalSetup: STORES,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    sequence: { groupOrder: 1 },
  },
  // Several real processes.
  fleet: {
    include: ['tests/cluster/**/*.test.ts', 'tests/browser/**/*.test.ts'],
    globalSetup: STORES,
    testTimeout: 60_000,
    hookTimeout: 180_000,
    fileParallelism: false,
    sequence: { groupOrder: 2 },
  },
};

export default defineConfig({
  test: {
    projects: Object.entries(PROJECTS).map(([name, test]) => ({
      test: { name, ...test, exclude: ['**/node_modules/**', '**/dist/**'] },
    })),
  },
});
