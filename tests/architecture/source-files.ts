import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../..');

/** Every file that is tracked or would be added, relative to the root. */
export const repositoryFiles = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
    cwd: ROOT,
  })
    .toString()
    .split('\n')
    .filter((path) => path !== '');

/** The text of a file of the repository. */
export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** `packages/kit/src/clock.ts` → `kit`; `tests/…` → `tests`; `deploy/fleet/…` → `fleet`. */
export const workspaceOf = (file: string): string => {
  const [top = '', second = ''] = file.split('/');
  return top === 'tests' ? 'tests' : second;
};

/** All TypeScript sources of the workspaces. */
export const sourceFiles = (): string[] =>
  repositoryFiles().filter((path) => /^(packages|services|tests|deploy)\/.*\.(ts|tsx)$/.test(path));

export const isTest = (file: string): boolean => /\.test\.ts$/.test(file) || file.startsWith('tests/');
