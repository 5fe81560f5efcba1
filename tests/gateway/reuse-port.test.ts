import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { sharedPortFault } from '@muster/ws-gateway/app';
import { readConfig } from '@muster/ws-gateway/config/index';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { FAST, startAggregator } from '../aggregator/fixture.ts';
import { SERVICE_KEY, startService, type TestService } from '../session/fixture.ts';
import { gatewayEnvironment, openSocket, type RawClient, startGateway, type TestGateway } from './fixture.ts';

const MAIN = fileURLToPath(new URL('../../services/ws-gateway/src/main.ts', import.meta.url));
const HOST = '127.0.0.1';
const OPS_TOKEN = 'an-operator-token-0123';
const CLIENTS = 40;
const stores = useTestStores({ migrate });
let sessions: TestService;
let token = '';

beforeAll(async () => {
  sessions = await startService(stores);
  const account = { user_id: 'u_shared_port', transport: 'bearer' };
  token = (await sessions.service('POST', '/v1/sessions', account)).body.token;
});
afterAll(() => sessions[Symbol.asyncDispose]());

const sharedGateway = (port: number, name: string): Promise<TestGateway> =>
  startGateway(stores, sessions.opsUrl, {
    ...{ REUSE_PORT: 'on', PORT: String(port), INSTANCE_NAME: name, HEARTBEAT_INTERVAL_MS: '200' },
  });

const connectClients = (port: number): Promise<RawClient[]> =>
  Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const client = await openSocket(`ws://${HOST}:${port}/connection/websocket`);
      client.send({ id: 1, connect: { token } });
      await client.reply(1);
      return client;
    }),
  );
const gatewaysOf = (clients: readonly RawClient[]): Set<unknown> =>
  new Set(clients.map(({ headers }) => headers['x-muster-gateway']));

describe.runIf(process.platform === 'linux')('one port', () => {
  test('[PO1] [PO2] [PO3] gateways on one port share the clients, are instances of their own, and a draining gateway gets no clients', async () => {
    const [port = 0] = await freePorts(1);
    await using aggregator = await startAggregator(stores, {
      ...FAST,
      ...{ OPS_TOKEN, SYNTHETIC_CHECK: 'on', SYNTHETIC_CHECK_INTERVAL_MS: '1000', SERVICE_API_KEYS: SERVICE_KEY },
    });
    await using one = await sharedGateway(port, 'gw-one');
    await using other = await sharedGateway(port, 'gw-other');
    for (const { name } of [one, other])
      await until(async () => (await aggregator.stateOf(name)) === 'up', {
        what: `${name} to be up`,
        timeoutMs: 15_000,
      });
    await until(async () => (await aggregator.request('/v1/fleet')).body.journey?.status === 'ok', {
      what: 'a synthetic check over both gateways',
      timeoutMs: 15_000,
    });
    const clients = await connectClients(port);
    expect(gatewaysOf(clients)).toEqual(new Set(['gw-one', 'gw-other']));

    const order = (method: 'POST' | 'DELETE') =>
      aggregator.request('/v1/instances/gw-one/drain', { method, headers: { authorization: `Bearer ${OPS_TOKEN}` } });
    expect((await order('POST')).status).toBe(202);
    const moved = clients.filter(({ headers }) => headers['x-muster-gateway'] === 'gw-one');
    for (const { closed } of moved) expect(await closed).toEqual({ code: 3001, reason: 'shutdown' });
    const later = await connectClients(port);
    expect(gatewaysOf(later)).toEqual(new Set(['gw-other']));
    expect(await aggregator.stateOf('gw-one')).toBe('draining');

    expect((await order('DELETE')).status).toBe(202);
    await until(async () => (await aggregator.stateOf('gw-one')) === 'up', { what: 'gw-one again', timeoutMs: 15_000 });
    const last = await connectClients(port);
    expect(gatewaysOf(last)).toEqual(new Set(['gw-one', 'gw-other']));
    for (const { socket } of [...clients, ...later, ...last]) socket.terminate();
  });

  test('[PO4] gateways on one port restart one by one while clients connect: none is refused, one per restart is reset at most', async () => {
    const [port = 0, ...opsPorts] = await freePorts(4);
    const start = async (opsPort: number) => {
      const env = { ...gatewayEnvironment(stores, sessions.opsUrl), DRAIN_ACCEPT_MS: '200', REUSE_PORT: 'on' };
      const child = spawn(process.execPath, [MAIN], {
        env: {
          ...{ PATH: process.env['PATH'], ...env, PORT: String(port), OPS_PORT: String(opsPort) },
          INSTANCE_NAME: `gw-${opsPort}`,
        },
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      await until(async () => (await fetch(`http://${HOST}:${opsPort}/readyz`)).status === 200, {
        what: 'a ready gateway',
        timeoutMs: 20_000,
      });
      return child;
    };
    const processes = await Promise.all(opsPorts.map(start));
    const outcomes: string[] = [];
    const pending = new Set<Promise<void>>();
    let isRunning = true;
    const connecting = (async () => {
      while (isRunning) {
        const one: Promise<void> = outcomeOf(port).then((outcome) => void outcomes.push(outcome));
        pending.add(one);
        void one.finally(() => pending.delete(one));
        await sleep(3);
      }
    })();
    for (const [index, child] of processes.entries()) {
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      expect(await exit).toEqual([0, null]);
      await start(opsPorts[index] ?? 0);
    }
    isRunning = false;
    await connecting;
    await Promise.all(pending);
    const counts = Object.fromEntries([...Map.groupBy(outcomes, (one) => one)].map(([key, all]) => [key, all.length]));
    process.stdout.write(`restarts of three gateways on one port: ${JSON.stringify(counts)}\n`);
    const { 101: served = 0, ECONNRESET: reset = 0, ...others } = counts;
    expect(others).toEqual({});
    expect(served).toBeGreaterThan(100);
    expect(reset).toBeLessThanOrEqual(processes.length);
  }, 90_000);

  test('[PO5] given a port that is held without sharing, when the gateway starts, then variable and remedy are named', async () => {
    await using holder = createServer();
    holder.listen(0, HOST);
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    await expect(sharedGateway(port, 'gw-late')).rejects.toThrow(
      /^REUSE_PORT: port \d+ is held by .+ set REUSE_PORT=off, give each gateway a PORT of its own/,
    );
  });
});

test('[PO5] given a platform that does not share ports, when the gateway starts, then variable and remedy are named', () => {
  const fault = sharedPortFault(Object.assign(new Error('listen ENOTSUP'), { code: 'ENOTSUP' }), 8_200);
  expect(fault.message).toBe(
    'REUSE_PORT: this platform does not share ports [ENOTSUP]; Linux and FreeBSD do: set REUSE_PORT=off, give each gateway a PORT of its own, and put a load balancer before them',
  );
});

test('[PO6] given REUSE_PORT, then the default name has the ops port, and a free port is rejected', () => {
  const { INSTANCE_NAME: _, ...env } = gatewayEnvironment(
    { redisUrl: 'redis://localhost', redisPrefix: 'x:' },
    'http://localhost:1',
  );
  const shared = { ...env, REUSE_PORT: 'on', OPS_PORT: '9201' };
  expect(readConfig({ ...shared, PORT: '8200' }).common.instanceName).toMatch(/:9201$/);
  expect(() => readConfig({ ...shared, PORT: '0' })).toThrow('REUSE_PORT: expected a fixed PORT, got 0');
});

const UPGRADE = [
  'GET /connection/websocket HTTP/1.1',
  'Host: one',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
].join('\r\n');

/** The status of one upgrade, or the code of its failure. */
const outcomeOf = (port: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect(port, HOST);
    socket.setEncoding('latin1').once('data', (text: string) => {
      resolve(text.slice(9, 12));
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    socket.once('close', () => resolve('closed'));
    socket.write(`${UPGRADE}\r\n\r\n`);
  });
