import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';
import { expect, test } from 'vitest';
import { ROOT, read, repositoryFiles } from './source-files.ts';

const SERVICES = [
  ['services/session-service/README.md', sessionSettings],
  ['services/ws-gateway/README.md', gatewaySettings],
  ['services/health-aggregator/README.md', aggregatorSettings],
] as const;

/** Variables in the first column of any table of a document. */
const documented = (path: string): string[] =>
  [...read(path).matchAll(/^\|\s*`([A-Z][A-Z0-9_]+)`\s*\|/gm)].map((match) => match[1] ?? '');

test.each(SERVICES)('%s documents exactly the variables that the service reads', (path, settings) => {
  expect(documented(path).toSorted()).toEqual(Object.keys(settings.shape).toSorted());
});

test('every variable is described for --help', () => {
  const mute = SERVICES.flatMap(([path, settings]) =>
    Object.entries(settings.shape)
      .filter(([, type]) => !(type as { description?: string }).description)
      .map(([name]) => `${path}: ${name}`),
  );
  expect(mute).toEqual([]);
});

test('relative links of the documents lead somewhere', () => {
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
      '.prettierrc.json',
    ],
  ];
  expect([...top].filter((name) => !allowed.includes(name ?? ''))).toEqual([]);
});

test('the lock file carries no download address', () => {
  expect(read('pnpm-lock.yaml')).not.toMatch(/https?:\/\//);
});
