import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { containerProxyPlan } from '@muster/local/haproxy-container-plan';
import { freePorts } from '@muster/local/ports';
import { until } from '@muster/testkit/wait';
import { afterEach, expect, test } from 'vitest';
import { openNameServer } from './name-server.ts';
import { startTestProxy } from './proxy.ts';

// HAProxy with the configuration for containers: replicas are the addresses of a DNS name, as in Docker and Kubernetes.

const LOAD_MS = 2_500;

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** A replica at its own address; ready only when the check names its service. */
const replica = async (service: string, host: string, port: number) => {
  const server = createServer((req, res) => {
    const url = new URL(req.url ?? '/', 'http://replica');
    const asked = url.searchParams.get('service') ?? service;
    res.writeHead(url.pathname === '/readyz' && asked !== service ? 404 : 200).end(service);
  });
  server.listen(port, host);
  await once(server, 'listening');
  const end = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  stack.defer(end);
  return { port: (server.address() as AddressInfo).port, end };
};

const startProxy = async (records: Readonly<Record<string, readonly string[]>>, replicaPort: number) => {
  const nameServer = stack.use(await openNameServer((name) => records[name] ?? []));
  const [port = 0, insidePort = 0] = await freePorts(2);
  const plan = containerProxyPlan();
  const at = <T extends object>(servers: readonly T[]) => servers.map((each) => ({ ...each, port: replicaPort }));
  stack.use(
    await startTestProxy({
      ...plan,
      bind: `127.0.0.1:${port}`,
      maxConnections: 500,
      sections: (plan.sections ?? '')
        .replace('parse-resolv-conf', `nameserver test 127.0.0.1:${nameServer.port}`)
        .replace(':8404', `127.0.0.1:${insidePort}`),
      gateways: at(plan.gateways),
      sessionServices: at(plan.sessionServices),
      aggregators: at(plan.aggregators),
    }),
  );
  return `http://127.0.0.1:${port}`;
};

/** Responses to eight clients during `change` and 2.5 s in total, counted by text. */
const answersDuring = async (url: string, change: () => unknown): Promise<Map<string, number>> => {
  const seen = new Map<string, number>();
  const endAt = performance.now() + LOAD_MS;
  const client = async (): Promise<void> => {
    while (performance.now() < endAt) {
      const answer = await fetch(url, { method: 'POST' });
      const text = `${answer.status} ${answer.status === 200 ? await answer.text() : ''}`.trim();
      seen.set(text, (seen.get(text) ?? 0) + 1);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  await change();
  await Promise.all(clients);
  return seen;
};
const untilServed = (url: string) =>
  until(async () => (await fetch(url, { method: 'POST' })).status, {
    ok: (status) => status === 200,
    what: 'replicas from DNS',
  });

test('[LB11] replicas that are new in DNS and do not listen yet cost no request', async () => {
  const { port } = await replica('ws-gateway', '127.0.0.2', 0);
  await replica('ws-gateway', '127.0.0.3', port);
  const records = { 'ws-gateway': ['127.0.0.2', '127.0.0.3'] };
  const url = `${await startProxy(records, port)}/api/publish`;
  await untilServed(url);
  const seen = await answersDuring(url, () => records['ws-gateway'].push('127.0.0.4', '127.0.0.5', '127.0.0.6'));
  expect([...seen.keys()]).toEqual(['200 ws-gateway']);
});

test('[LB12] an address that now belongs to another service gets no requests for the previous service', async () => {
  const old = await replica('session-service', '127.0.0.2', 0);
  const { port } = old;
  await replica('session-service', '127.0.0.3', port);
  const records = { 'session-service': ['127.0.0.2', '127.0.0.3'] };
  const url = `${await startProxy(records, port)}/v1/sessions`;
  await untilServed(url);
  await old.end();
  // Its health checks have failed by now; the name server still returns the old address, which HAProxy keeps.
  await sleep(1_000);
  const seen = await answersDuring(url, () => replica('ws-gateway', '127.0.0.2', port));
  expect([...seen.keys()]).toEqual(['200 session-service']);
});
