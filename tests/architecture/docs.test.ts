import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SETTINGS_DOCUMENTS, withSettingsTable } from './settings-table.ts';
import { ROOT, read, repositoryFiles } from './source-files.ts';

test.each(SETTINGS_DOCUMENTS)('%s has the table of variables that the schema generates', (path, settings) => {
  // `npm run generate` writes it.
  expect(read(path)).toBe(withSettingsTable(read(path), settings));
});

test('every variable is described for --help', () => {
  const undescribed = SETTINGS_DOCUMENTS.flatMap(([path, settings]) =>
    Object.entries(settings.shape)
      .filter(([, type]) => !(type as { description?: string }).description)
      .map(([name]) => `${path}: ${name}`),
  );
  expect(undescribed).toEqual([]);
});

test('relative links of the documents lead to a file', () => {
  const broken = repositoryFiles()
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...read(path).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !existsSync(join(ROOT, path, '..', target)))
        .map((target) => `${path} → ${target}`),
    );
  expect(broken).toEqual([]);
});

test('the top level of the repository has only the listed files and folders', () => {
  const top = new Set(repositoryFiles().map((path) => path.split('/')[0]));
  const allowed = [
    ...[
      'package.json',
      'pnpm-workspace.yaml',
      'pnpm-lock.yaml',
      'docker-compose.yml',
      'services',
      'packages',
      'deploy',
      'docs',
      'tests',
    ],
    ...[
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'DECISIONS.md',
      'CONTRIBUTING.md',
      'SECURITY.md',
      'GLOSSARY.md',
      'ARCHITECTURE.md',
      'CODE_OF_CONDUCT.md',
      'tsconfig.json',
      'tsconfig.publish.json',
      'biome.json',
      'vitest.config.ts',
    ],
    ...[
      '.ci',
      '.editorconfig',
      '.node-version',
      '.gitignore',
      '.dockerignore',
      '.gitattributes',
      '.github',
      '.changeset',
      '.vscode',
      '.prettierignore',
      '.prettierrc.mjs',
    ],
  ];
  expect([...top].filter((name) => !allowed.includes(name ?? ''))).toEqual([]);
});

test('the lock file carries no download address', () => {
  expect(read('pnpm-lock.yaml')).not.toMatch(/https?:\/\//);
});
