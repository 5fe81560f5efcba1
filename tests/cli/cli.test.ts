import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@muster/cli/cli';
import { createMySessions } from '@muster/client/sessions';
import { listen } from '@muster/http/listen';
import { freePorts } from '@muster/local/ports';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SERVICE_KEY, startService, type TestService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
let home = '';

beforeAll(async () => {
  service = stack.use(await startService(stores));
  home = mkdtempSync(join(tmpdir(), 'muster-cli-'));
  stack.defer(() => rmSync(home, { recursive: true }));
  mkdirSync(join(home, '.muster'));
  mkdirSync(join(home, 'deep', 'er'), { recursive: true });
  writeFileSync(
    join(home, '.muster', 'fleet.json'),
    JSON.stringify({ publicUrl: service.url, serviceApiKey: SERVICE_KEY }),
  );
});
afterAll(() => stack.disposeAsync());

/** Runs the command as a shell would. */
const muster = async (line: string | string[], env: NodeJS.ProcessEnv = {}, cwd = join(home, 'deep', 'er')) => {
  const output: string[] = [];
  const errors: string[] = [];
  const code = await runCli({
    argv: typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line,
    ...{ env, cwd },
    out: (text) => output.push(text),
    err: (text) => errors.push(text),
    interruption: () => new AbortController().signal,
  });
  return { code, out: output.join('\n'), err: errors.join('\n') };
};
const json = async (line: string) => JSON.parse((await muster(`${line} --json`)).out);
const login = async (user: string, more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: user, transport: 'bearer', ...more })).body as {
    id: string;
    token: string;
  };

test('[CM1] given an invalid command line, when it runs, then the usage is printed', async () => {
  expect(await muster('')).toMatchObject({ code: 0, out: expect.stringContaining('sessions list') });
  expect(await muster('frobnicate')).toMatchObject({
    code: 2,
    err: expect.stringContaining('no command frobnicate'),
  });
  expect(await muster('sessions list --state dead')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--state: expected one of'),
  });
  expect((await muster('sessions --help')).out).not.toContain('muster doctor');
  expect((await muster('--version')).out).toMatch(/^\d+\.\d+\.\d+$/);
  expect((await muster(`--url ${service.url} --key=${SERVICE_KEY} sessions list`, {}, '/')).code).toBe(0);
  for (const line of (await muster('help')).out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  expect(await muster('sessions show')).toMatchObject({
    code: 2,
    err: expect.stringContaining('session id is missing'),
  });
  expect(await muster('sessions list --frob')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--frob'),
  });
  const missing = await muster('sessions show 6a7f5f0e-3b1c-4d7e-9c55-0d6f6ed1a111');
  expect(missing).toMatchObject({
    code: 1,
    err: expect.stringMatching(/404 not-found.*request [0-9a-f-]{36}/),
  });
});

test('[CM12] given a mistyped command, when it runs, then the message has its words, never the value of an option', async () => {
  const said = async (line: string): Promise<string | undefined> => {
    const { code, out, err } = await muster(line, {}, '/');
    expect({ line, code, out }).toEqual({ line, code: 2, out: '' });
    expect(err).not.toContain('SECRET');
    return /^muster: (.+?);/.exec(err)?.[1];
  };
  const at = `--url ${service.url}`;
  expect(await said(`${at} --key SECRET sessions`)).toBe('there is no command sessions');
  expect(await said(`${at} sessions --key SECRET lst`)).toBe('there is no command sessions lst');
  expect(await said(`--server-key SECRET sessions ${at} --key=SECRET lst`)).toBe('there is no command sessions lst');
  expect(await said('--key SECRET frobnicate')).toBe('there is no command frobnicate');
  expect(await said('publsh chat SECRET')).toBe('there is no command publsh');
  for (const line of ['--kye SECRET sessions list', '--key=SECRET', '--key SECRET', '--key SECRET -- x'])
    expect(await said(line), line).toBe('no command is given');
  await said(`sessions list ${at} --kye=SECRET`);
  await said(`sessions list ${at} --kye SECRET`);
  expect((await muster(`sessions ${at} --key ${SERVICE_KEY} list`, {}, '/')).code).toBe(0);
});

test('[CM13] given an option with two values, when a command runs, then it is a usage error', async () => {
  const lines = {
    key: `sessions list --key a --key ${SERVICE_KEY}`,
    url: `--url http://127.0.0.1:1 sessions list --key k --url=${service.url}`,
    user: 'sessions end --user a --user b',
  };
  for (const [name, line] of Object.entries(lines))
    expect(await muster(line), line).toMatchObject({
      code: 2,
      err: expect.stringContaining(`--${name} is given more than once`),
    });
});

test('[CM2] given a local fleet, when a command runs, then its URL and key are used together only', async () => {
  expect((await muster('sessions list')).code).toBe(0);
  expect(await muster('sessions list', {}, '/')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--url'),
  });
  const elsewhere = await muster('sessions list --url http://127.0.0.1:1');
  expect(elsewhere).toMatchObject({ code: 2, err: expect.stringContaining('--key') });
  const env = { MUSTER_URL: service.url, MUSTER_API_KEY: 'wrong-key' };
  expect(await muster('sessions list', env, '/')).toMatchObject({
    code: 1,
    err: expect.stringContaining('API key was refused'),
  });
  const [free] = await freePorts(1);
  const gone = await muster(`sessions list --url http://127.0.0.1:${free} --key some-key`);
  expect(gone).toMatchObject({
    code: 1,
    err: expect.stringContaining('ECONNREFUSED; is the fleet running there?'),
  });
  const https = service.url.replace('http:', 'https:');
  expect(await muster(`sessions list --url ${https} --key some-key`)).toMatchObject({
    code: 1,
    err: expect.stringContaining('this port speaks http: use http:// instead of https://'),
  });
});

test('[CM3] [CM5] given sessions, when the commands run, then they are listed, shown and ended', async () => {
  const [one, two] = [await login('ann', { label: 'laptop' }), await login('ann')];
  expect((await json('sessions list --user ann')).map(({ id }: { id: string }) => id)).toEqual([two.id, one.id]);
  expect((await muster('sessions list --user ann')).out).toMatch(/^SESSION +USER +DEVICE +SEEN +STATE\n/);
  expect((await muster(`sessions show ${one.id}`)).out).toMatch(/label +laptop/);
  expect(await muster(`sessions end ${one.id}`)).toMatchObject({
    code: 0,
    out: expect.stringContaining('1 ended'),
  });
  await expect(createMySessions({ baseUrl: service.url, token: one.token }).current()).rejects.toMatchObject({
    reason: 'session-ended',
  });
  expect(await json('sessions end --user ann')).toMatchObject({ ended: 1 });
  expect(await json('sessions list --user ann')).toEqual([]);
  expect(await json('sessions list --user ann --state ended')).toHaveLength(2);
});

test("[CM5] given sessions of the fleet's own tools, when sessions are listed, then they do not count towards --limit", async () => {
  const shown = [await login('seen'), await login('seen')].map(({ id }) => id).toReversed();
  // More than one page of the list.
  for (let n = 0; n < 101; n += 1) await login('muster-journey');
  const idsOf = async (line: string) => (await json(line)).map(({ id }: { id: string }) => id);
  expect(await idsOf('sessions list --limit 1')).toEqual(shown.slice(0, 1));
  expect(await idsOf('sessions list --limit 2')).toEqual(shown);
  expect((await muster('sessions list --limit 1')).out).toContain('there are more');
  expect((await muster('sessions list --limit 100')).out).not.toContain('there are more');
  expect(await json('sessions list --limit 3 --all')).toHaveLength(3);
});

test('[CM4] given a label with control characters, when it is printed, then they are replaced', async () => {
  await login('mal', { label: 'x\u001b[2Jy\u202ez' });
  const { out } = await muster('sessions list --user mal');
  expect(out).toContain('x?[2Jy?z');
});

test('[CM9] given an id that is not a UUID, when a command runs, then it is a usage error and ends nothing', async () => {
  const kept = await login('kept');
  const lines = ['sessions end .', 'sessions end ..', 'sessions show x', 'keys revoke .', 'sessions end --user ..'];
  for (const line of [...lines, 'sessions end --user .', 'sessions end --user=']) {
    expect(await muster(line), line).toMatchObject({ code: 2, err: expect.stringContaining('expected') });
  }
  expect(await createMySessions({ baseUrl: service.url, token: kept.token }).current()).toMatchObject({
    user_id: 'kept',
  });
});

test('[CM10] given a command that creates something, when it is retried, then all tries carry one idempotency key', async () => {
  const keys: unknown[] = [];
  const server = stack.use(
    await listen(
      async (req, res) => {
        const parts: Buffer[] = [];
        for await (const part of req) parts.push(part as Buffer);
        const body = JSON.parse(Buffer.concat(parts).toString('utf8'));
        keys.push(req.headers['idempotency-key'] ?? body.idempotency_key);
        res.writeHead(keys.length % 2 === 1 ? 503 : 200, { 'content-type': 'application/json' });
        res.end('{"result":{},"key":"sk_x","id":"y"}');
      },
      { host: '127.0.0.1', port: 0 },
    ),
  );
  const at = `--url http://127.0.0.1:${server.port}`;
  const line = `publish chat hi ${at} --server-key k`;
  expect((await muster(line)).code).toBe(0);
  expect((await muster(line)).code).toBe(0);
  expect((await muster(`keys create --name a --scopes ops ${at} --key k`)).code).toBe(0);
  expect((await muster(`${line} --idempotency mine`)).code).toBe(0);
  expect(keys.filter((_, index) => index % 2 === 0)).toEqual(keys.filter((_, index) => index % 2 === 1));
  expect(new Set(keys).size).toBe(4);
  expect(keys.at(-1)).toBe('mine');
  for (const key of keys.slice(0, 6)) expect(key).toMatch(/^[0-9a-f]{32}$/);
});

test('[CM6] [CM19] given API keys, when the commands run, then they are created, listed and revoked, and invalid lists are rejected', async () => {
  const made = await json('keys create --name shop --scopes sessions:create,sessions:end');
  expect(made.key).toMatch(/^sk_/);
  const listed = await muster('keys list');
  expect(listed.out).toContain('shop');
  expect(listed.out).not.toContain(made.key);
  expect((await muster('keys revoke --help')).out).toContain('within 250 ms');
  expect(await muster('keys create --name shop')).toMatchObject({ code: 2 });
  const twice = ['keys', 'create', '--name', 'x', '--scopes', ' sessions:end, sessions:create,sessions:end '];
  expect(JSON.parse((await muster([...twice, '--json'])).out).scopes).toEqual(['sessions:end', 'sessions:create']);
  for (const [list, problem] of [
    ['--scopes=sessions:end,', 'an empty entry'],
    ['--scopes=,sessions:end', 'an empty entry'],
    ['--scopes=', 'an empty entry'],
    ['--scopes=sessions:end sessions:create', 'a space in "sessions:end sessions:create"'],
  ] as const) {
    const refused = await muster(['keys', 'create', '--name', 'x', list]);
    expect([list, refused.code, refused.err]).toEqual([
      list,
      2,
      expect.stringContaining(`--scopes: expected names separated by commas, got ${problem}`),
    ]);
  }
  expect(await muster('keys create --name x --scopes everything')).toMatchObject({
    code: 1,
    err: expect.stringContaining('scopes'),
  });
  expect((await muster(`keys revoke ${made.id}`)).code).toBe(0);
  expect((await json('keys list')).find(({ id }: { id: string }) => id === made.id).revoked_at).not.toBeNull();
  expect((await muster(`keys revoke ${made.id}`)).code).toBe(1);
});

test('[CM7] [CM18] given a step that fails, when doctor runs, then it names the step and remedy and ends its session', async () => {
  const { code, out } = await muster('doctor');
  expect(code).toBe(1);
  // A session service without a gateway: the socket is not accepted.
  expect(out).toMatch(/^ok +login +[\d.]+ ms +session [\da-f-]{36}\nFAILED +connect .+\n +remedy: check that the load/);
  expect(out).toMatch(/– +subscribe +skipped/);
  expect(await json('sessions list --user muster-cli')).toEqual([]);
  expect(out).toContain('budget    (1 replicas + 1 during a rollout)');
});
