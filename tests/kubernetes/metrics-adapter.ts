import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { until } from '@muster/testkit/wait';
import type { ControlPlane } from './control-plane.ts';

const GROUP = 'custom.metrics.k8s.io';
const VERSION = 'v1beta2';
const ROOT = `/apis/${GROUP}/${VERSION}`;
const NAMESPACE = 'kube-system';
const NAME = 'metrics-adapter';

/** Value of a metric for each pod, by its name. */
export type ReadPodMetric = () => Promise<ReadonlyMap<string, number>>;

/** Serves one metric of pods to the autoscaler of the cluster, as prometheus-adapter does. Disposing it stops the server. */
export const startMetricsAdapter = async (
  { client, tls }: ControlPlane,
  { metric, namespace, read }: { metric: string; namespace: string; read: ReadPodMetric },
): Promise<AsyncDisposable> => {
  const values = async (): Promise<object> => ({
    kind: 'MetricValueList',
    apiVersion: `${GROUP}/${VERSION}`,
    metadata: {},
    items: [...(await read())].map(([name, value]) => ({
      describedObject: { kind: 'Pod', namespace, name, apiVersion: '/v1' },
      metric: { name: metric },
      timestamp: new Date().toISOString(),
      value: String(value),
    })),
  });
  const resources = {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: `${GROUP}/${VERSION}`,
    resources: [
      { name: `pods/${metric}`, singularName: '', namespaced: true, kind: 'MetricValueList', verbs: ['get'] },
    ],
  };
  const server = createServer(tls, async (req, res) => {
    const path = new URL(req.url ?? '/', 'https://adapter').pathname;
    const isMetric = decodeURIComponent(path) === `${ROOT}/namespaces/${namespace}/pods/*/${metric}`;
    const body = isMetric ? await values().catch(() => undefined) : path === ROOT ? resources : undefined;
    res
      .writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' })
      .end(JSON.stringify(body ?? {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const { port } = server.address() as AddressInfo;
  await client.call('POST', `/api/v1/namespaces/${NAMESPACE}/services`, {
    metadata: { name: NAME },
    spec: { type: 'ExternalName', externalName: 'localhost' },
  });
  const registration = `/apis/apiregistration.k8s.io/v1/apiservices`;
  await client.call('POST', registration, {
    metadata: { name: `${VERSION}.${GROUP}` },
    spec: {
      group: GROUP,
      version: VERSION,
      service: { namespace: NAMESPACE, name: NAME, port },
      insecureSkipTLSVerify: true,
      groupPriorityMinimum: 100,
      versionPriority: 100,
    },
  });
  await until(() => client.call('GET', ROOT), {
    ok: ({ status }) => status === 200,
    what: 'the metrics adapter behind kube-apiserver',
    timeoutMs: 60_000,
    intervalMs: 500,
  });
  return {
    [Symbol.asyncDispose]: async () => {
      await client.call('DELETE', `${registration}/${VERSION}.${GROUP}`);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
