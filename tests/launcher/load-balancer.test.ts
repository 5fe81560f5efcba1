import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FakeFleet, fakeFleet, temporaryDirectory } from './fake-fleet.ts';

const run = promisify(execFile);

interface Seen {
  readonly name: string;
  readonly path: string;
  readonly headers: Record<string, string>;
}

let stack: AsyncDisposableStack;
let started: FakeFleet;
let base: string;
let requestLog: string;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  const directory = stack.use(temporaryDirectory());
  requestLog = join(directory.path, 'requestLog');
  started = stack.use(await fakeFleet(directory.path, { env: { REQUEST_LOG: requestLog }, sessions: 2 }));
  base = started.fleet.publicUrl;
});
afterAll(() => stack.disposeAsync());

/** curl sends a path unchanged; fetch would normalize it. */
const rawStatus = async (path: string): Promise<string> => {
  const { stdout } = await run('curl', ['-s', '--path-as-is', '-w', '\n%{http_code} %{content_type}', base + path]);
  return stdout.split('\n').at(-1) ?? '';
};

const ask = async (path: string, headers: Record<string, string> = {}): Promise<Seen> =>
  (await (await fetch(base + path, { headers })).json()) as Seen;

const upgrade = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
};

test.for([
  ['/connection/websocket', 'ws-gateway'],
  ['/ws?group=lobby', 'ws-gateway'],
  ['/api/publish', 'ws-gateway'],
  ['/v1/sessions', 'session-service'],
  ['/v1/sessions/x/revoke', 'session-service'],
  ['/v1/session', 'session-service'],
  ['/v1/me/sessions', 'session-service'],
  ['/v1/users/u/sessions', 'session-service'],
  ['/v1/guest-sessions', 'session-service'],
  ['/openapi.json', 'session-service'],
  ['/docs', 'session-service'],
  ['/docs/page.css', 'session-service'],
  ['/', 'health-aggregator'],
  ['/assets/index.js', 'health-aggregator'],
  ['/health', 'health-aggregator'],
  ['/v1/fleet', 'health-aggregator'],
  ['/v1/fleet/events', 'health-aggregator'],
  ['/wsx', 'health-aggregator'],
  ['/v1/api-keys', 'session-service'],
  ['/v1/capacity', 'health-aggregator'],
  ['/v1/operator/sessions', 'health-aggregator'],
  ['/v1/nothing-of-ours', 'session-service'],
] as const)('[LB1] %s goes to %s', async ([path, service]) => {
  const seen = await ask(path);
  expect(seen.name).toMatch(new RegExp(`^${service}-\\d$`));
  expect(seen.path).toBe(path);
});

test.for([
  '/metrics',
  '/sd/prometheus',
  '/admin',
  '/readyz',
  '/livez',
  '/startupz',
  '/internal/sessions/check',
  '//metrics',
  '/Metrics',
  '/%6detrics',
  '/%6Detrics/',
  '/x/../metrics',
  '/./metrics',
  '/x/%2e%2e/metrics',
  '/v1/sessions/../../internal/x',
])('[LB2] %s is answered 404 to clients', async (path) => {
  expect(await rawStatus(path)).toBe('404 application/problem+json');
});

test('[LB3] forwarding headers of the client are removed', async () => {
  const { headers } = await ask('/v1/session', {
    'x-forwarded-for': '6.6.6.6',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'evil.example',
    forwarded: 'for=6.6.6.6',
    'x-real-ip': '6.6.6.6',
  });
  expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' });
  for (const name of ['x-forwarded-host', 'forwarded', 'x-real-ip']) expect(headers).not.toHaveProperty(name);
});

test('[LB4] a request without a valid id gets a new id', async () => {
  const idOf = async (given?: string) =>
    (await ask('/', given === undefined ? {} : { 'x-request-id': given })).headers['x-request-id'];
  expect(await idOf()).toMatch(/^[0-9a-f-]{36}$/);
  expect(await idOf('trace-0123456789')).toBe('trace-0123456789');
  expect(await idOf('short')).toMatch(/^[0-9a-f-]{36}$/);
  expect(await idOf('a b;c\td"<script>')).toMatch(/^[0-9a-f-]{36}$/);
});

test('[LB15] Keep-Alive of a replica is removed from the answer', async () => {
  const [gateway] = started.fleet.describe().gateways;
  const direct = await fetch(`${gateway?.url}/api/publish`);
  expect(direct.headers.get('keep-alive')).toMatch(/^timeout=/);
  for (const path of ['/api/publish', '/v1/session', '/health']) {
    const answer = await fetch(base + path);
    await answer.arrayBuffer();
    expect([path, answer.headers.get('keep-alive')]).toEqual([path, null]);
  }
});

test('[LB5] [LB16] a killed gateway costs no request, and is used again after its restart', async () => {
  started.fleet.kill('ws-gateway-1', 'SIGKILL');
  const endAt = performance.now() + 1_500;
  const statuses = new Set<number>();
  while (performance.now() < endAt) {
    statuses.add((await fetch(`${base}/ws`)).status);
    await sleep(10);
  }
  expect([...statuses]).toEqual([200]);
  await until(async () => (await ask('/ws')).name, {
    ok: (name) => name === 'ws-gateway-1',
    what: 'ws-gateway-1 to be chosen again',
    timeoutMs: 15_000,
  });
});

/** The replicas that a request has reached, in order. */
const reached = (id: string): string[] =>
  (existsSync(requestLog) ? readFileSync(requestLog, 'utf8').split('\n') : [])
    .filter((line) => line.endsWith(` ${id}`))
    .map((line) => line.split(' ')[0] ?? '');
/** Sends a request that its first replica never answers, and kills that replica. */
const killedInside = async (method: string, path: string): Promise<{ answer: Response; names: string[] }> => {
  await until(() => Promise.all([ask(path), ask(path)]), {
    ok: (both) => new Set(both.map(({ name }) => name)).size === 2,
    what: 'two replicas in rotation',
  });
  const id = randomUUID();
  const answering = fetch(`${base}${path}/hold`, { method, headers: { 'x-request-id': id } });
  const [victim = ''] = await until(() => reached(id), {
    ok: (names) => names.length > 0,
    what: 'the request inside a replica',
  });
  started.fleet.kill(victim, 'SIGKILL');
  // A 502, or the end of a kept-alive connection without an answer: see SPEC.md.
  const answer = await answering.catch(() => Response.error());
  return { answer, names: reached(id) };
};

test.for([
  ['POST', '/v1/sessions'],
  ['DELETE', '/v1/sessions'],
  ['POST', '/api'],
] as const)('[LB8] a %s to %s inside a replica that dies is sent to no other replica', async ([method, path]) => {
  const { answer, names } = await killedInside(method, path);
  expect([answer.ok, names.length]).toEqual([false, 1]);
});

test('[LB18] a GET inside a replica that dies is answered by another replica', async () => {
  const { answer, names } = await killedInside('GET', '/v1/sessions');
  expect([answer.status, new Set(names).size, names.length]).toEqual([200, 2, 2]);
});

test.for(['GET', 'POST'])(
  '[LB9] a 503 of a replica reaches the client as it is, after one attempt: %s',
  async (method) => {
    const id = randomUUID();
    const answer = await fetch(`${base}/api/overloaded`, { method, headers: { 'x-request-id': id } });
    expect([answer.status, reached(id).length]).toEqual([503, 1]);
  },
);

test('[LB6] [LB17] without a ready gateway, upgrades are forwarded and other requests answered 503', async () => {
  await Promise.all([started.fleet.halt('ws-gateway-1'), started.fleet.halt('ws-gateway-2')]);
  const refused = await until(() => fetch(`${base}/api/publish`), {
    ok: (answer) => answer.status === 503,
    what: 'a 503',
  });
  expect(refused.headers.get('content-type')).toBe('application/problem+json');
  expect(await refused.json()).toMatchObject({ status: 503, code: 'OVERLOADED' });
  await Promise.all([started.fleet.resume('ws-gateway-1'), started.fleet.resume('ws-gateway-2')]);
  // Started again but not yet ready by its health checks: an upgrade is forwarded at once.
  const { stdout } = await run('curl', [
    '-s',
    ...Object.entries(upgrade).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    `${base}/ws`,
  ]);
  expect((JSON.parse(stdout) as Seen).name).toMatch(/^ws-gateway/);
});
