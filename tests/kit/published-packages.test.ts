import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { blocksOf } from '../documents/blocks.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BIN = join(ROOT, 'node_modules', '.bin');
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${BIN}:${process.env['PATH']}` };
let home = '';

/** An application that has installed our tarballs. What they depend on comes from this repository. */
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'muster-published-'));
  execFileSync(process.execPath, [join(ROOT, 'deploy/publish/pack.mjs'), join(home, 'tarballs')], {
    cwd: ROOT,
    env,
  });
  for (const tarball of readdirSync(join(home, 'tarballs'))) install(join(home, 'tarballs', tarball));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const install = (tarball: string): void => {
  const unpacked = mkdtempSync(join(home, 'unpacked-'));
  execFileSync('tar', ['-xzf', tarball, '-C', unpacked, '--strip-components=1']);
  const { name, dependencies = {} } = JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8'));
  const place = join(home, 'node_modules', name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(unpacked, place);
  for (const dependency of Object.keys(dependencies).filter((one) => !one.startsWith('@muster/'))) {
    const target = join(home, 'node_modules', dependency);
    mkdirSync(dirname(target), { recursive: true });
    rmSync(target, { force: true });
    symlinkSync(join(ROOT, 'packages', name.replace('@muster/', ''), 'node_modules', dependency), target);
  }
};

/** Declarations that the snippets of the README assume: an application, and its own functions. */
const GIVEN = `
import type { Express } from 'express';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
declare global {
  namespace NodeJS { interface ProcessEnv { MUSTER_API_KEY: string; SESSION_SECRETS: string; REDIS_URL: string; INTERNAL_API_KEY: string } }
  const app: Express;
  const server: Server;
  const location: { assign(url: string): void };
  const render: (session: unknown) => void;
  const show: (user: string | undefined, data: unknown) => void;
}
export {};
`;

/** Every TypeScript snippet of the client's README, as a file of its own. */
const readmeSnippets = (): string[] => {
  writeFileSync(join(home, 'given.d.mts'), GIVEN);
  const snippets = blocksOf('packages/client/README.md')
    .filter(({ language }) => language === 'ts')
    .map(({ line, code }) => {
      const file = `readme-${line}.mts`;
      writeFileSync(join(home, file), code);
      return file;
    });
  return ['given.d.mts', ...snippets];
};

const CONSUMER = `
import { createMySessions, createSessions } from '@muster/client/sessions';
import { requireSession } from '@muster/client/express';
import { createRealtime } from '@muster/client/realtime';
import { createTokenSigner, newSessionId, newSecret } from '@muster/session/token';

const signer = createTokenSigner(['0123456789-a-secret-of-an-application']);
const token = signer.issue(newSessionId(), newSecret({ bytes: (size) => new Uint8Array(size) }));
const kinds = [createMySessions, createSessions, requireSession, createRealtime].map((one) => typeof one);
process.stdout.write(JSON.stringify({ ok: signer.verify(token).ok, kinds }));
`;

test('the tarballs hold JavaScript and types, and no source', () => {
  const client = join(home, 'node_modules/@muster/client');
  expect(readdirSync(client).toSorted()).toEqual(
    ['LICENSE', 'README.md', 'SPEC.md', 'dist', 'examples', 'package.json'].toSorted(),
  );
  const files = readdirSync(join(client, 'dist'));
  expect(files).toContain('sessions.js');
  expect(files).toContain('sessions.d.ts');
  expect(files.filter((file) => /(?<!\.d)\.ts$/.test(file))).toEqual([]);
});

test('plain JavaScript runs with them', () => {
  writeFileSync(join(home, 'app.mjs'), CONSUMER);
  const output = execFileSync(process.execPath, ['--no-experimental-strip-types', 'app.mjs'], {
    cwd: home,
    env,
  });
  expect(JSON.parse(String(output))).toEqual({ ok: true, kinds: Array(4).fill('function') });
});

test('[DC5] TypeScript checks with them, that of the README too', () => {
  writeFileSync(join(home, 'app.mts'), CONSUMER);
  const strict = [
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--types',
    'node',
  ];
  const snippets = readmeSnippets();
  expect(snippets.length).toBeGreaterThanOrEqual(5);
  const types = ['--typeRoots', join(ROOT, 'node_modules/@types')];
  const { stdout } = spawnSync(join(BIN, 'tsc'), [...strict, ...types, 'app.mts', ...snippets], {
    ...{ cwd: home, env, encoding: 'utf8' },
  });
  expect(stdout).toBe('');
  writeFileSync(
    join(home, 'wrong.mts'),
    "import { createSessions } from '@muster/client/sessions';\ncreateSessions({ baseUrl: 7, apiKey: '' });\n",
  );
  expect(() => execFileSync(join(BIN, 'tsc'), [...strict, ...types, 'wrong.mts'], { cwd: home, env })).toThrow();
});
