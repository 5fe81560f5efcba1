import { expect, test } from 'vitest';
import { type Import, importsOf, resolveImport } from './import-graph.ts';
import { isTest, read, sourceFiles, workspaceOf } from './source-files.ts';

const SERVICES = ['ws-gateway', 'session-service', 'health-aggregator'];

/** Workspaces that a workspace may import. Imports go down only. */
const BASE = ['protocol', 'telemetry'];
const LOWER = [...BASE, 'kit'];
const MIDDLE = [...LOWER, 'http', 'session'];
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  telemetry: [],
  kit: BASE,
  local: [],
  http: LOWER,
  session: LOWER,
  bus: LOWER,
  client: ['protocol', 'kit', 'session'],
  cli: ['protocol', 'client'],
  'session-service': MIDDLE,
  'ws-gateway': [...MIDDLE, 'bus'],
  'health-aggregator': MIDDLE,
  testkit: [...LOWER, 'local'],
  fleet: ['local'],
  observability: ['telemetry'],
};

/** Files and folders in which a library may be imported; elsewhere a port hides it. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  ws: ['services/ws-gateway/src/socket/', 'services/health-aggregator/src/clients/'],
  express: ['packages/http/src/', 'services/ws-gateway/src/http/'],
  pg: ['packages/local/src/', 'packages/testkit/src/', 'services/session-service/src/postgres/'],
  'node-pg-migrate': ['services/session-service/src/postgres/'],
  ioredis: ['packages/kit/src/redis/', 'packages/bus/src/', 'packages/testkit/src/'],
  'cookie-signature': ['packages/session/src/'],
  cookie: ['packages/session/src/'],
  uuid: ['packages/session/src/', 'packages/http/src/', 'packages/kit/src/'],
  'prom-client': ['packages/kit/src/metrics'],
  pino: ['packages/kit/src/logger'],
  re2js: ['services/ws-gateway/src/config/'],
  zod: [
    ...['packages/http/src/', 'packages/kit/src/config'],
    ...SERVICES.flatMap((name) => [`services/${name}/src/config`, `services/${name}/src/http/`]),
  ],
  '@asteasolutions/zod-to-openapi': ['packages/http/src/'],
  'rate-limiter-flexible': ['services/session-service/src/http/'],
  centrifuge: ['packages/client/src/', 'services/health-aggregator/src/console/'],
  preact: ['services/health-aggregator/src/console/'],
  '@preact/signals': ['services/health-aggregator/src/console/'],
  testcontainers: ['packages/testkit/src/'],
};

/** Packages and built-in modules that `core/` may import. */
const CORE_IMPORTS =
  /^@muster\/(?:protocol|telemetry|kit|session|bus)\/|^node:(?:buffer|crypto|timers\/promises|zlib)$|^ipaddr\.js$/;

const all: readonly Import[] = sourceFiles().flatMap(importsOf);
const ofProduct = all.filter(({ file }) => !isTest(file));

const packageOf = (specifier: string): string =>
  specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : (specifier.split('/')[0] ?? '');

const describeImport = ({ file, specifier }: Import): string => `${file} imports ${specifier}`;

test('the imports were found', () => {
  expect(all.length).toBeGreaterThan(200);
});

test('an import only goes down a floor', () => {
  const upward = ofProduct.filter(({ file, specifier }) => {
    const target = /^@muster\/([\w-]+)/.exec(specifier)?.[1];
    const from = workspaceOf(file);
    return target !== undefined && target !== from && !(FLOORS[from] ?? []).includes(target);
  });
  expect(upward.map(describeImport)).toEqual([]);
});

test('no import reaches another workspace by path', () => {
  const outside = ofProduct.filter(({ file, specifier }) => {
    if (!specifier.startsWith('.')) return false;
    const depth = file.split('/').length - 3; // folders below packages/<name>
    const ups = specifier.split('/').filter((part) => part === '..').length;
    return ups > depth;
  });
  expect(outside.map(describeImport)).toEqual([]);
});

test('a library is imported only in its listed folders', () => {
  const misplaced = ofProduct.filter(({ file, specifier, isTypeOnly }) => {
    const home = HOMES[packageOf(specifier)];
    return home !== undefined && !isTypeOnly && !home.some((path) => file.startsWith(path));
  });
  expect(misplaced.map(describeImport)).toEqual([]);
});

test('core imports core and packages, nothing else', () => {
  const leaks = ofProduct.filter(({ file, specifier }) => {
    const [core] = /^services\/[\w-]+\/src\/core\//.exec(file) ?? [];
    if (core === undefined) return false;
    if (specifier.startsWith('.')) return !resolveImport(file, specifier)?.startsWith(core);
    return !CORE_IMPORTS.test(specifier);
  });
  expect(leaks.map(describeImport)).toEqual([]);
});

test('an import from core into another folder of the service is seen', () => {
  const gateway = 'services/ws-gateway/src';
  const target = resolveImport(`${gateway}/core/engine.ts`, '../auth/authenticator.ts');
  expect(target).toBe(`${gateway}/auth/authenticator.ts`);
  expect(CORE_IMPORTS.test('@muster/http/route')).toBe(false);
  expect(CORE_IMPORTS.test('ws')).toBe(false);
});

test('every permission of this file is used', () => {
  const used = new Set(
    ofProduct.flatMap(({ file, specifier }) => {
      const target = /^@muster\/([\w-]+)/.exec(specifier)?.[1];
      return target === undefined ? [] : [`${workspaceOf(file)} → ${target}`];
    }),
  );
  const floors = Object.entries(FLOORS).flatMap(([from, targets]) => targets.map((to) => `${from} → ${to}`));
  // `protocol` and `telemetry` are open to every workspace above them.
  const isBase = (arrow: string) => BASE.some((name) => arrow.endsWith(`→ ${name}`));
  expect(floors.filter((arrow) => !used.has(arrow) && !isBase(arrow))).toEqual([]);
  const libraries = new Set(ofProduct.map(({ specifier }) => packageOf(specifier)));
  expect(Object.keys(HOMES).filter((name) => !libraries.has(name))).toEqual([]);
  const folders = Object.entries(HOMES).flatMap(([name, homes]) => homes.map((home) => ({ name, home })));
  const unused = folders.filter(
    ({ name, home }) => !ofProduct.some((each) => packageOf(each.specifier) === name && each.file.startsWith(home)),
  );
  expect(unused.map(({ name, home }) => `${name}: ${home}`)).toEqual([]);
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
  expect(users.map(describeImport)).toEqual([]);
});

test('imports name files: no barrels', () => {
  expect(sourceFiles().filter((file) => /\/index\.ts$/.test(file) && !/\/config\/index\.ts$/.test(file))).toEqual([]);
});
