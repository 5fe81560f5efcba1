import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startAggregator } from '../aggregator/fixture.ts';
import { startService, type TestService } from '../session/fixture.ts';
import {
  gatewayEnvironment,
  openSocket,
  type RawClient,
  SERVER_KEY,
  startGateway,
  type TestGateway,
  tryUpgrade,
} from './fixture.ts';

const MAIN = fileURLToPath(new URL('../../services/ws-gateway/src/main.ts', import.meta.url));
const OPS_TOKEN = 'an-operator-token-0123';
const CLIENTS = 200;
const stores = useTestStores({ migrate });
let sessions: TestService;
let token: string;

beforeAll(async () => {
  sessions = await startService(stores);
  const account = { user_id: 'u_drain', transport: 'bearer' };
  token = (await sessions.service('POST', '/v1/sessions', account)).body.token;
});
afterAll(() => sessions[Symbol.asyncDispose]());

const protocolClient = async (wsUrl: string): Promise<RawClient> => {
  const client = await openSocket(`${wsUrl}/connection/websocket`);
  client.send({ id: 1, connect: { token } }, { id: 2, subscribe: { channel: 'ticks' } });
  await client.reply(2);
  return client;
};
const plainClient = (wsUrl: string): Promise<RawClient> =>
  openSocket(`${wsUrl}/ws?group=ticks`, { authorization: `Bearer ${token}` });

const openClients = async (wsUrl: string): Promise<RawClient[]> => {
  const clients: RawClient[] = [];
  for (let opened = 0; opened < CLIENTS; opened += 20) {
    const some = Array.from({ length: 20 }, (_, n) => (n === 0 ? plainClient(wsUrl) : protocolClient(wsUrl)));
    clients.push(...(await Promise.all(some)));
  }
  return clients;
};

const publish = async ({ url }: TestGateway, data: number): Promise<void> => {
  const init = { method: 'POST', headers: { 'x-api-key': SERVER_KEY } };
  await fetch(`${url}/api/publish`, { ...init, body: JSON.stringify({ channel: 'ticks', data }) });
};
const hasReceived = ({ frames }: RawClient, data: number): boolean =>
  frames.some((frame) => frame === String(data) || frame.includes(`"data":${data}`));

describe('drain', () => {
  test('[DR1] [DR2] [DR6] [DR7] [DR8] given 200 clients, when the gateway drains, then they are closed slot by slot and served until their slot', async () => {
    await using gateway = await startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: 'gw-drained' });
    const clients = await openClients(gateway.wsUrl);
    const order: RawClient[] = [];
    const codes: number[] = [];
    for (const one of clients) {
      void one.closed.then(({ code }) => {
        order.push(one);
        codes.push(code);
      });
    }
    const draining = gateway.app.drain(new AbortController().signal);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
    // After a quarter is closed a publication is made: all open connections receive it, and no closed connection.
    await until(() => order.length >= CLIENTS / 4, { what: 'a quarter', timeoutMs: 10_000, intervalMs: 5 });
    const before = new Set(order);
    await publish(gateway, 1);
    await until(() => order.length >= CLIENTS * 0.75, {
      what: 'three quarters',
      timeoutMs: 20_000,
      intervalMs: 5,
    });
    const refused = await tryUpgrade(`${gateway.wsUrl}/connection/websocket`);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } });
    await draining;
    await until(() => order.length === CLIENTS, { what: 'everybody', timeoutMs: 10_000 });
    expect(new Set(codes)).toEqual(new Set([3001]));
    expect(clients.filter((one) => before.has(one) && hasReceived(one, 1))).toEqual([]);
    const late = order.slice(Math.floor(CLIENTS * 0.9));
    expect(late.filter((one) => hasReceived(one, 1))).toHaveLength(late.length);
    expect(before.size).toBeLessThan(CLIENTS * 0.9);
    expect(await gateway.metric('gateway_drained_connections_total{result="closed"}')).toBe(CLIENTS);
    expect(await gateway.metric('gateway_drain_remaining_connections')).toBe(0);
  });

  test('[DR5] [DR11] given a drain directive, when it is revoked, then clients are drained and accepted again', async () => {
    await using aggregator = await startAggregator(stores, { OPS_TOKEN });
    const names = ['gw-ordered', 'gw-other'];
    const [ordered, other] = (await Promise.all(
      names.map((name) => startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: name, HEARTBEAT_INTERVAL_MS: '200' })),
    )) as [TestGateway, TestGateway];
    for (const name of names) {
      await until(async () => (await aggregator.stateOf(name)) === 'up', {
        what: `${name} to be up`,
        timeoutMs: 15_000,
      });
    }
    const [plain, one, bystander] = [
      await plainClient(ordered.wsUrl),
      await protocolClient(ordered.wsUrl),
      await protocolClient(other.wsUrl),
    ];
    const order = (method: string) =>
      aggregator.request('/v1/instances/gw-ordered/drain', {
        method,
        headers: { authorization: `Bearer ${OPS_TOKEN}`, 'content-type': 'application/json' },
        ...(method === 'POST' ? { body: '{"reason":"kernel"}' } : {}),
      });
    expect((await order('POST')).status).toBe(202);
    for (const { closed } of [plain, one]) expect(await closed).toEqual({ code: 3001, reason: 'shutdown' });
    expect((await tryUpgrade(`${ordered.wsUrl}/connection/websocket`)).status).toBe(503);
    expect((await order('DELETE')).status).toBe(202);
    await until(async () => (await tryUpgrade(`${ordered.wsUrl}/connection/websocket`)).status === 101, {
      what: 'a gateway that takes clients again',
      timeoutMs: 10_000,
    });
    expect(bystander.socket.readyState).toBe(bystander.socket.OPEN);
    bystander.socket.terminate();
    for (const gateway of [ordered, other]) await gateway[Symbol.asyncDispose]();
  });
});

describe('the process', () => {
  const start = async (env: NodeJS.ProcessEnv = {}) => {
    const [port = 0, opsPort = 0] = await freePorts(2);
    const child = spawn(process.execPath, [MAIN], {
      env: {
        PATH: process.env['PATH'],
        ...gatewayEnvironment(stores, sessions.opsUrl),
        PORT: String(port),
        OPS_PORT: String(opsPort),
        INSTANCE_NAME: `gw-${port}`,
        ...env,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
    await until(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200, {
      what: 'a ready gateway',
      timeoutMs: 20_000,
    });
    return { child, exit, wsUrl: `ws://127.0.0.1:${port}` };
  };

  test('[DR9] given open connections, when the process receives SIGTERM, then they are drained and the exit code is 0', async () => {
    const { child, exit, wsUrl } = await start();
    const clients = [await protocolClient(wsUrl), await plainClient(wsUrl)];
    child.kill('SIGTERM');
    for (const { closed } of clients) expect((await closed).code).toBe(3001);
    expect(await exit).toBe(0);
  });

  test('[DR10] given a draining gateway, when the process receives a second signal, then it ends at once', async () => {
    const { child, exit, wsUrl } = await start({ DRAIN_ACCEPT_MS: '60000', DRAIN_TIMEOUT_MS: '240000' });
    const client = await protocolClient(wsUrl);
    child.kill('SIGTERM');
    // It still serves and takes clients, for the load balancer has not noticed yet.
    const late = await protocolClient(wsUrl);
    child.kill('SIGTERM');
    expect(await exit).toBe(1);
    for (const { closed } of [client, late]) expect((await closed).code).toBe(1006);
  });
});
