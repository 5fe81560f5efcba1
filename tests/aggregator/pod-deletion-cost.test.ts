import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { readMetric } from '../observability/read-metric.ts';
import { FAST, startAggregator, startTiny, type TestAggregator } from './fixture.ts';

const stores = useTestStores();
const PATCHES = 'fleet_pod_deletion_cost_patches_total';
let directory: string;
let stack = new AsyncDisposableStack();

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'muster-kubernetes-'));
  for (const name of ['cluster', 'other']) {
    const at = join(directory, name);
    mkdirSync(at);
    const certificate = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`];
    const files = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', join(at, 'key'), '-out', join(at, 'ca.crt')];
    execFileSync('openssl', [...certificate, ...files], { stdio: 'ignore' });
    writeFileSync(join(at, 'token'), 'a-service-account-token\n');
    writeFileSync(join(at, 'namespace'), 'muster');
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** An HTTPS server that records patches and answers them with `status`; 0: it does not answer. */
const openApiServer = async () => {
  const patches: { path: string; type: string | undefined; token: string | undefined; cost: string }[] = [];
  const state = { status: 200, requests: 0 };
  const onRequest = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    state.requests += 1;
    if (state.status === 0) return;
    let body = '';
    for await (const chunk of request) body += chunk;
    const { annotations } = JSON.parse(body).metadata;
    patches.push({
      path: `${request.method} ${request.url}`,
      type: request.headers['content-type'],
      token: request.headers.authorization,
      cost: annotations['controller.kubernetes.io/pod-deletion-cost'],
    });
    response.writeHead(state.status, { 'content-type': 'application/json' }).end('{}');
  };
  const [key, cert] = ['key', 'ca.crt'].map((name) => readFileSync(join(directory, 'cluster', name)));
  const server = createServer({ key, cert }, (request, response) => void onRequest(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { patches, state, url: `https://127.0.0.1:${(server.address() as AddressInfo).port}` };
};
const startLeader = async (url: string, env: NodeJS.ProcessEnv = {}): Promise<TestAggregator> =>
  stack.use(
    await startAggregator(stores, {
      ...FAST,
      EXPECTED: 'ws-gateway=1',
      POD_DELETION_COST: 'on',
      POD_DELETION_COST_INTERVAL_MS: '1000',
      KUBERNETES_API_URL: url,
      KUBERNETES_CREDENTIALS_DIR: join(directory, 'cluster'),
      ...env,
    }),
  );
const startGatewayPod = async (name: string, connections: number) =>
  stack.use(
    await startTiny(stores, { ...FAST, SERVICE: 'ws-gateway', INSTANCE_NAME: name, CONNECTIONS: String(connections) }),
  );
const failuresOf = ({ log }: TestAggregator) => log.of('kubernetes.pod_patch_failed').map(({ fields }) => fields);

test('[PD1] [PD2] [PD6] given gateways, when their order changes, then the leader writes the connections of each pod once', async () => {
  const api = await openApiServer();
  await startGatewayPod('gw-full', 900);
  await startGatewayPod('gw-idle', 4);
  const leader = await startLeader(api.url, { INSTANCE_NAME: 'leader' });
  const off = await startLeader(api.url, { INSTANCE_NAME: 'off', POD_DELETION_COST: 'off' });
  const follower = await startLeader(api.url, { INSTANCE_NAME: 'follower' });
  await until(() => api.patches.length >= 2, { what: 'the costs of two pods', timeoutMs: 20_000 });
  const written = () => new Map(api.patches.map(({ path, cost }) => [path.split('/').at(-1), cost]));
  expect(written()).toEqual(
    new Map([
      ['gw-full', '900'],
      ['gw-idle', '4'],
    ]),
  );
  expect(api.patches[0]).toMatchObject({
    path: 'PATCH /api/v1/namespaces/muster/pods/gw-full',
    type: 'application/merge-patch+json',
    token: 'Bearer a-service-account-token',
  });
  await startGatewayPod('gw-third', 50);
  await until(() => written().size === 3, { what: 'the cost of the third pod', timeoutMs: 20_000 });
  await until(() => api.patches.length >= 5, { what: 'the second round', timeoutMs: 20_000 });
  expect(api.patches).toHaveLength(5);
  expect(await readMetric(leader.opsUrl, `${PATCHES}{result="ok"}`)).toBe(5);
  for (const { opsUrl } of [off, follower]) expect(await readMetric(opsUrl, `${PATCHES}{result="ok"}`)).toBe(0);
});

test('[PD4] given an API server that refuses or does not answer, when costs are written, then it is counted, logged once and tried again', async () => {
  const api = await openApiServer();
  api.state.status = 403;
  await startGatewayPod('gw-a', 10);
  const leader = await startLeader(api.url);
  const countOf = (result: string) => readMetric(leader.opsUrl, `${PATCHES}{result="${result}"}`);
  const untilCounted = (result: string, least: number) =>
    until(async () => (await countOf(result)) >= least, { what: `${least} times ${result}`, timeoutMs: 20_000 });
  await untilCounted('forbidden', 2);
  expect(failuresOf(leader)).toEqual([{ pod: 'gw-a', result: 'forbidden' }]);
  api.state.status = 404;
  await untilCounted('not_found', 1);
  api.state.status = 0;
  await untilCounted('timeout', 1);
  expect(leader.log.of('kubernetes.pod_patch_recovered')).toEqual([]);
  api.state.status = 200;
  await untilCounted('ok', 1);
  expect(failuresOf(leader)).toHaveLength(1);
  expect(leader.log.of('kubernetes.pod_patch_recovered')).toHaveLength(1);
  expect((await leader.request('/health/ws-gateway')).status).toBe(200);
}, 60_000);

test('[PD5] given a certificate of another CA, when a cost is written, then no request is sent', async () => {
  const api = await openApiServer();
  await startGatewayPod('gw-a', 10);
  const leader = await startLeader(api.url, { KUBERNETES_CREDENTIALS_DIR: join(directory, 'other') });
  await until(async () => (await readMetric(leader.opsUrl, `${PATCHES}{result="error"}`)) > 0, {
    what: 'a failed patch',
    timeoutMs: 20_000,
  });
  expect(api.state.requests).toBe(0);
  expect(failuresOf(leader)).toEqual([{ pod: 'gw-a', result: 'error' }]);
});
