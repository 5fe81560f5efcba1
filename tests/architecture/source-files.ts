import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../..');

/** Every file that git knows or would add, relative to the root. */
export const repositoryFiles = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
    cwd: ROOT,
  })
    .toString()
    .split('\n')
    .filter((path) => path !== '');

/** The text of a file of the repository. */
export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** One import of one file. */
export interface Import {
  readonly file: string;
  readonly specifier: string;
  readonly isTypeOnly: boolean;
}

const IMPORT = /^\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
const DYNAMIC = /\bimport\('([^']+)'\)/g;

/** Every import statement of a TypeScript file, static and dynamic. */
export const importsOf = (file: string): Import[] => {
  const text = read(file);
  return [
    ...[...text.matchAll(IMPORT)].map((match) => ({
      file,
      specifier: match[2] ?? '',
      isTypeOnly: match[1] !== undefined,
    })),
    ...[...text.matchAll(DYNAMIC)].map((match) => ({ file, specifier: match[1] ?? '', isTypeOnly: false })),
  ];
};

/** `packages/kit/src/clock.ts` → `kit`; `tests/…` → `tests`; `deploy/fleet/…` → `fleet`. */
export const workspaceOf = (file: string): string => {
  const [top = '', second = ''] = file.split('/');
  return top === 'tests' ? 'tests' : second;
};

/** All TypeScript sources of the workspaces. */
export const sourceFiles = (): string[] =>
  repositoryFiles().filter((path) => /^(packages|services|tests|deploy)\/.*\.(ts|tsx)$/.test(path));

export const isTest = (file: string): boolean => /\.test\.ts$/.test(file) || file.startsWith('tests/');
