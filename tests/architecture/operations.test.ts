import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';
import { expect, test } from 'vitest';
import { ROOT, read, repositoryFiles } from './source-files.ts';

const GUIDE = 'docs/operations/';
const documents = repositoryFiles().filter((path) => path.startsWith(GUIDE) && path.endsWith('.md'));

/** Variables of other programs, and of the command `muster`. */
const OF_OTHERS = [
  'NODE_OPTIONS',
  'NODE_EXTRA_CA_CERTS',
  'POSTGRES_PASSWORD',
  'MIGRATION_DATABASE_URL',
  'GRAFANA_PASSWORD',
  'MUSTER_URL',
  'MUSTER_OPS_TOKEN',
];

const known = new Set([
  ...[sessionSettings, gatewaySettings, aggregatorSettings].flatMap(({ shape }) => Object.keys(shape)),
  ...[...read('docker-compose.yml').matchAll(/\$\{([A-Z_]+):-/g)].map((match) => match[1] ?? ''),
  ...OF_OTHERS,
]);

/** Text between backticks, and in blocks of code. */
const codeOf = (path: string): string[] =>
  [...read(path).matchAll(/```[\s\S]*?```|`[^`\n]+`/g)].map((match) => match[0]);

test('the guide has an index, and the index names every document', () => {
  const index = read(`${GUIDE}README.md`);
  expect(documents.length).toBeGreaterThan(5);
  expect(
    documents.filter((path) => !path.endsWith('README.md') && !index.includes(`(${path.slice(GUIDE.length)}`)),
  ).toEqual([]);
});

test('every variable that the guide names is read by a service or by docker-compose.yml', () => {
  const unknown = documents.flatMap((path) =>
    codeOf(path)
      .flatMap((code) => code.match(/\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b/g) ?? [])
      .filter((name) => !known.has(name) && name !== 'NAME_FILE')
      .map((name) => `${path}: ${name}`),
  );
  expect([...new Set(unknown)]).toEqual([]);
});

test('every file of the repository that the guide names is there', () => {
  const missing = documents.flatMap((path) =>
    codeOf(path)
      .flatMap((code) => code.match(/\b(?:deploy|docs|packages|services|tests)\/[\w./-]+/g) ?? [])
      .filter((target) => !existsSync(join(ROOT, target)))
      .map((target) => `${path}: ${target}`),
  );
  expect(missing).toEqual([]);
});

test('every npm command of the guide exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const commands = documents.flatMap((path) =>
    [...read(path).matchAll(/\bnpm run ([\w:-]+)/g)].map((match) => match[1] ?? ''),
  );
  expect(commands.length).toBeGreaterThan(0);
  expect(commands.filter((command) => !(command in scripts))).toEqual([]);
});

test('links of the guide and of the README lead to an existing heading', () => {
  const broken = [...documents, 'README.md'].flatMap((path) =>
    [...read(path).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)/g)]
      .map(([, file = '', anchor = '']) => ({
        target: file === '' ? path : normalize(join(dirname(path), file)),
        anchor,
      }))
      .filter(({ target, anchor }) => !anchorsOf(target).includes(anchor))
      .map(({ target, anchor }) => `${path} → ${target}#${anchor}`),
  );
  expect(broken).toEqual([]);
});

/** The anchors that the headings of a document have on its page. */
const anchorsOf = (path: string): string[] =>
  [...read(path).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
