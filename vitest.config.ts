import { defineConfig } from 'vitest/config';

const PROJECTS: Record<string, { include: string[]; testTimeout?: number; hookTimeout?: number }> = {
  // No network, no child process, no waiting: the whole project in seconds.
  unit: { include: ['packages/**/*.test.ts', 'services/**/*.test.ts', 'deploy/**/*.test.ts'] },
  architecture: { include: ['tests/architecture/**/*.test.ts'] },
  // Real Redis and Postgres, one service at a time.
  service: {
    include: ['tests/service/**/*.test.ts', 'tests/contract/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
  },
  // Several real processes.
  fleet: {
    include: ['tests/cluster/**/*.test.ts', 'tests/browser/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 180_000,
  },
};

export default defineConfig({
  test: {
    projects: Object.entries(PROJECTS).map(([name, test]) => ({
      test: { name, ...test, exclude: ['**/node_modules/**', '**/dist/**'] },
    })),
  },
});
