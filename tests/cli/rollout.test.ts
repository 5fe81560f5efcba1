import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@muster/cli/cli';
import { afterEach, beforeEach, expect, test } from 'vitest';

const TOKEN = 'ops_0123456789-token';
const STARTED = '2026-11-01T00:00:00.000Z';

interface FakeInstance {
  id: string;
  readonly service: string;
  readonly name: string;
  state: string;
  version: string;
  startedAt: string;
  connections: number;
}

/** Actions of the fake fleet, in order. */
let events: string[];
let instances: FakeInstance[];
let starts: number;
let status: string;
/** Names of instances that do not start again, and of those that do not get empty. */
let failsToStart: Set<string>;
let keepsClients: Set<string>;
/** True for aggregators that list an instance after its end: a restarted instance always, a stopped instance in every second answer. */
let listsEnded: boolean;
let ended: FakeInstance[];
let reads: number;
let stack: AsyncDisposableStack;
let url = '';
let home = '';

const instance = (service: string, name: string, connections = 0): FakeInstance => ({
  ...{ id: `id-${name}`, service, name, state: 'up', version: '1.0.0', startedAt: STARTED, connections },
});

const find = (name: string): FakeInstance | undefined => instances.find((one) => one.name === name);

/** Instances that the aggregator lists. */
const listed = (): FakeInstance[] => {
  reads += 1;
  return listsEnded && reads % 2 === 0 ? [...ended, ...instances] : instances;
};

const snapshot = () => ({
  ...{ status, asOf: '2026-11-29T09:59:58.000Z', ageMs: 2_000, dependencies: {} },
  services: [...Map.groupBy(listed(), ({ service }) => service)].map(([service, of]) => ({
    ...{ service, status },
    instances: of.map(({ connections, ...one }) => ({ ...one, why: 'ready', forMs: 60_000, load: { connections } })),
  })),
});

/** Restarts an instance as a process manager would: a new identity under the old name. */
const restart = (name: string): void => {
  const one = find(name);
  events.push(`restart ${name} with ${one?.connections}`);
  if (one === undefined || failsToStart.has(name)) {
    instances = instances.filter((other) => other !== one);
    return;
  }
  starts += 1;
  if (listsEnded) instances.push({ ...one });
  Object.assign(one, { id: `id-${starts}`, state: 'up', version: '1.1.0', startedAt: '2026-11-29T10:01:00.000Z' });
};

/** An aggregator, and a path by which a command restarts an instance. */
const respond = (method: string, path: string, token: string | undefined): object | undefined => {
  const [, name = ''] = /^\/v1\/instances\/([^/]+)\/drain$/.exec(path) ?? [];
  if (path === '/v1/fleet') return snapshot();
  if (path.startsWith('/restart/')) restart(path.slice('/restart/'.length));
  else if (path.startsWith('/stop/')) {
    const one = find(path.slice('/stop/'.length));
    events.push(`stop ${one?.name} with ${one?.connections}`);
    instances = instances.filter((other) => other !== one);
    if (one !== undefined) ended.push(one);
  } else {
    const one = find(name);
    if (one === undefined || token !== `Bearer ${TOKEN}`) return undefined;
    events.push(`${method === 'POST' ? 'drain' : 'resume'} ${name}`);
    one.state = method === 'POST' ? 'draining' : 'up';
    if (method === 'POST' && !keepsClients.has(name)) one.connections = 0;
  }
  return {};
};

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  home = stack.adopt(mkdtempSync(join(tmpdir(), 'muster-rollout-')), (one) => rmSync(one, { recursive: true }));
  [events, starts, status] = [[], 0, 'operational'];
  [ended, reads] = [[], 0];
  [failsToStart, keepsClients, listsEnded] = [new Set(), new Set(), false];
  instances = [
    instance('session-service', 'session-1'),
    instance('session-service', 'session-2'),
    instance('ws-gateway', 'gateway-1', 30),
    instance('ws-gateway', 'gateway-2', 10),
    instance('ws-gateway', 'gateway-3', 20),
  ];
  const server = stack.use(
    createServer((req, res) => {
      const body = respond(req.method ?? '', req.url ?? '', req.headers.authorization);
      res.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json', connection: 'close' });
      res.end(JSON.stringify(body ?? {}));
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => stack.disposeAsync());

/** A command line for `--command` that requests a path of the fake. */
const requesting = (what: 'restart' | 'stop'): string => {
  const script = join(home, `${what}.mjs`);
  writeFileSync(script, `await fetch('${url}/${what}/' + process.argv[2]);\n`);
  return `${process.execPath} ${script} {name}`;
};

const muster = async (words: readonly string[], interruption = new AbortController().signal) => {
  const output: string[] = [];
  const errors: string[] = [];
  const code = await runCli({
    ...{ argv: [...words, '--url', url, '--ops-token', TOKEN], env: {}, cwd: '/' },
    out: (text) => output.push(text),
    err: (text) => errors.push(text),
    interruption: () => interruption,
  });
  return { code, out: output.join('\n'), err: errors.join('\n') };
};
const rollout = (...more: string[]) =>
  muster(['rollout', '--command', requesting('restart'), '--settle', '1', '--timeout', '3', ...more]);

test('[CM28] given an instance that has started after the newest evidence of the aggregator, when a rollout starts, then it is replaced', async () => {
  instances = [{ ...instance('session-service', 'session-1'), startedAt: '2026-11-29T09:59:59.000Z' }];
  const { code, out } = await muster(['rollout', '--settle', '1', '--command', requesting('restart')]);
  expect({ code, out }).toEqual({ code: 0, out: 'replaced 1 instances' });
});

test('[CM21] given a fleet, when rollout runs, then instances are replaced one at a time, each empty, the emptiest gateway first', async () => {
  const { code, out } = await rollout('--service', 'session-service,ws-gateway', '--json');
  expect(code).toBe(0);
  const order = ['session-1', 'session-2', 'gateway-2', 'gateway-3', 'gateway-1'];
  expect(events).toEqual(order.flatMap((name) => [`drain ${name}`, `restart ${name} with 0`]));
  const { replaced } = JSON.parse(out) as { replaced: { name: string; version: string; newVersion: string }[] };
  expect(replaced.map(({ name, version, newVersion }) => `${name} ${version} ${newVersion}`)).toEqual(
    order.map((name) => `${name} 1.0.0 1.1.0`),
  );
}, 60_000);

test('[CM29] given an aggregator that lists instances after their end, when rollout runs, then each is replaced once', async () => {
  listsEnded = true;
  const { code } = await rollout('--service', 'session-service');
  expect({ code, restarts: events.filter((event) => event.startsWith('restart')) }).toEqual({
    code: 0,
    restarts: ['restart session-1 with 0', 'restart session-2 with 0'],
  });
});

test('[CM29] given two aggregators, when scale-in runs and the second still lists what has ended, then each instance is stopped once', async () => {
  listsEnded = true;
  const { code, out } = await muster(['scale-in', '2', '--command', requesting('stop'), '--timeout', '5']);
  expect({ code, out }).toEqual({ code: 0, out: 'stopped gateway-2, gateway-3' });
});

test('[CM22] [CM24] given an instance that does not start again, when rollout runs, then it stops with the way to continue, and continues', async () => {
  failsToStart.add('gateway-3');
  const stopped = await rollout('--service', 'ws-gateway');
  expect(stopped.code).toBe(1);
  expect(stopped.err).toContain('rollout stopped at gateway-3 after 1 replaced instances: the successor of gateway-3');
  const [, time = ''] =
    /continue with: muster rollout .*--service ws-gateway .*--resume (\S+)$/m.exec(stopped.err) ?? [];
  expect(time).toBe('2026-11-29T10:00:00.000Z');
  expect(events).not.toContain('drain gateway-1');

  failsToStart.clear();
  instances.push({ ...instance('ws-gateway', 'gateway-3'), id: 'id-by-hand', startedAt: '2026-11-29T10:02:00.000Z' });
  events = [];
  expect((await rollout('--service', 'ws-gateway', '--resume', time)).code).toBe(0);
  expect(events).toEqual(['drain gateway-1', 'restart gateway-1 with 0']);
}, 60_000);

test('[CM22] given a fleet that is not operational, when rollout runs, then nothing changes unless it is forced', async () => {
  status = 'degraded';
  Object.assign(find('session-2') ?? {}, { state: 'degraded' });
  const { code, err } = await rollout('--service', 'ws-gateway');
  expect({ code, events }).toEqual({ code: 1, events: [] });
  expect(err).toContain('the fleet is degraded: session-2 is degraded (ready)');
  expect((await rollout('--service', 'session-service', '--force')).code).toBe(0);
  expect(events).toContain('restart session-2 with 0');
}, 60_000);

test('[CM23] given a gateway that does not get empty, when rollout runs, then it is resumed and not restarted', async () => {
  keepsClients.add('gateway-2');
  const { code, err } = await rollout('--service', 'ws-gateway');
  expect(code).toBe(1);
  expect(err).toContain('an empty gateway-2: not within 3 s (10 connections are left); it was resumed');
  expect(events).toEqual(['drain gateway-2', 'resume gateway-2']);
}, 60_000);

test('[CM25] given any form of deployment, when --dry-run is set, then the steps are printed and nothing changes', async () => {
  instances = [instance('ws-gateway', 'web1:muster-ws-gateway@1', 7)];
  const planned = await muster(['rollout', '--service', 'ws-gateway', '--with', 'systemd', '--dry-run']);
  expect(planned.out).toBe(
    'web1:muster-ws-gateway@1: drain 7 connections\nweb1:muster-ws-gateway@1: systemctl --host web1 restart muster-ws-gateway@1',
  );
  instances = [instance('session-service', '0123456789ab:8080')];
  const containers = await muster([
    'rollout',
    '--service',
    'session-service',
    '--with',
    'compose',
    '--dry-run',
    '--json',
  ]);
  expect(JSON.parse(containers.out)).toEqual([
    'session-service: docker compose run --rm --no-deps -T migrate',
    expect.stringContaining('up --detach --no-deps --no-build --no-recreate --scale session-service=$(('),
    '0123456789ab:8080: drain 0 connections',
    '0123456789ab:8080: docker stop 0123456789ab',
    '0123456789ab:8080: docker rm 0123456789ab',
  ]);
  expect(events).toEqual([]);
  instances = [instance('ws-gateway', '$(reboot)')];
  expect((await muster(['rollout', '--service', 'ws-gateway', '--with', 'compose', '--dry-run'])).err).toContain(
    '"$(reboot)": expected a name of letters',
  );
});

test('[CM26] given gateways, when scale-in runs, then the emptiest are drained and stopped, and never all', async () => {
  const scaleIn = (count: string) => muster(['scale-in', count, '--command', requesting('stop'), '--timeout', '5']);
  const { code, out } = await scaleIn('2');
  expect({ code, out }).toEqual({ code: 0, out: 'stopped gateway-2, gateway-3' });
  expect(events).toEqual(['drain gateway-2', 'stop gateway-2 with 0', 'drain gateway-3', 'stop gateway-3 with 0']);
  expect(await scaleIn('1')).toMatchObject({ code: 2, err: expect.stringContaining('at most 0 can stop') });
}, 60_000);

test('[CM27] given a restart command that fails, when rollout runs, then its output is shown', async () => {
  const words = [
    'rollout',
    '--service',
    'ws-gateway',
    '--timeout',
    '5',
    '--command',
    'echo no such unit {name}; exit 4',
  ];
  const { code, err } = await muster(words);
  expect(code).toBe(1);
  expect(err).toContain('exit code 4\nno such unit gateway-2');
}, 60_000);

test('[CM27] given --command and --with, no means, or an unknown service, when rollout runs, then it is a usage error', async () => {
  expect((await muster(['rollout', '--command', 'x {name}', '--with', 'compose'])).code).toBe(2);
  expect((await muster(['rollout', '--command', 'x'])).code).toBe(2);
  expect((await muster(['rollout'])).err).toContain('state how instances are restarted');
  expect((await muster(['rollout', '--with', 'compose', '--service', 'gateways'])).code).toBe(2);
  expect((await muster(['rollout', '--with', 'compose', '--resume', 'now'])).code).toBe(2);
});
