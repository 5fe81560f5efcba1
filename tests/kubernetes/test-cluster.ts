import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { until } from '@muster/testkit/wait';
import type { FleetAccess } from '../cluster/delivery-workload.ts';
import { type ClusterNetwork, loopbackOf, openClusterNetwork } from './cluster-network.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { startKubelet, type TestKubelet } from './kubelet.ts';
import type { Pod } from './pod.ts';
import type { KubernetesPrograms } from './programs.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const NAMESPACE = 'muster';
const NODES = ['node-a', 'node-b', 'node-c'];
const READY_WITHIN_MS = 180_000;
/** Second octet of the addresses of one run, so that runs side by side do not share any. */
const LOWEST_OCTET = 32;
const OCTETS = 200;

/** The fleet of `overlays/dev` on a real control plane, with processes of this machine as pods. */
export interface TestCluster extends AsyncDisposable {
  readonly control: ControlPlane;
  readonly network: ClusterNetwork;
  readonly kubelet: TestKubelet;
  readonly access: FleetAccess;
  /** kubectl in the namespace of the fleet. */
  kubectl(...args: readonly string[]): Promise<string>;
  /** Pods of a service that are not terminating. */
  podsOf(service: string): Promise<Pod[]>;
  /** Waits until a Deployment has this many available pods and no others. */
  untilAvailable(deployment: string, replicas: number): Promise<void>;
}

/** Stores of a test file. */
interface Stores {
  readonly redisUrl: string;
  readonly redisPrefix: string;
  readonly databaseUrl: string;
}

/** Numbers of replicas of the overlay of the test. */
export const REPLICAS = { 'session-service': 2, 'ws-gateway': 3, 'health-aggregator': 2, haproxy: 1 } as const;

/** Starts the control plane and its nodes, applies the overlay, and waits until every pod is available. */
export const startTestCluster = async (programs: KubernetesPrograms, stores: Stores): Promise<TestCluster> => {
  await using stack = new AsyncDisposableStack();
  const network = stack.use(await openClusterNetwork(LOWEST_OCTET + Math.floor(Math.random() * OCTETS)));
  const control = stack.use(await startControlPlane(programs, network));
  network.follow(control.client);
  const kubelet = stack.use(await startKubelet(control.client, network, { nodes: NODES, directory: control.home }));
  const overlay = join(control.home.path, 'overlay');
  await mkdir(overlay);
  await writeFile(
    join(overlay, 'kustomization.yaml'),
    JSON.stringify(overlayFor(stores, { directory: overlay, server: control.server })),
  );
  await control.kubectl('apply', '--server-side', '--validate=strict', '-k', overlay);

  const kubectl: TestCluster['kubectl'] = (...args) => control.kubectl('--namespace', NAMESPACE, ...args);
  const podsOf = async (service: string): Promise<Pod[]> => {
    const selector = encodeURIComponent(`app.kubernetes.io/name=${service}`);
    const path = `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${selector}`;
    const { items } = await control.client.get<{ items: Pod[] }>(path);
    return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  };
  const untilAvailable: TestCluster['untilAvailable'] = async (deployment, replicas) => {
    await until(
      () => control.client.get<Deployment>(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${deployment}`),
      {
        ok: ({ status }) => status.availableReplicas === replicas && status.replicas === replicas,
        what: `${replicas} available pods of ${deployment}`,
        timeoutMs: READY_WITHIN_MS,
        intervalMs: 200,
      },
    );
  };
  for (const [deployment, replicas] of Object.entries(REPLICAS)) await untilAvailable(deployment, replicas);
  const [haproxy] = await podsOf('haproxy');
  const owned = stack.move();
  return {
    control,
    network,
    kubelet,
    access: {
      publicUrl: `http://${loopbackOf(haproxy?.status?.podIP ?? '')}:8080`,
      serviceApiKey: KEYS.SERVICE_API_KEYS,
      serverApiKey: KEYS.SERVER_API_KEYS,
    },
    kubectl,
    podsOf,
    untilAvailable,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

interface Deployment {
  readonly metadata: { readonly name: string };
  readonly status: { readonly replicas?: number; readonly availableReplicas?: number };
}

const KEYS = { SERVICE_API_KEYS: 'test-service-key-0123456789', SERVER_API_KEYS: 'test-server-key-0123456789' };

/** The development overlay with the stores of the test, as an operator changes it. */
const overlayFor = (
  { redisUrl, redisPrefix, databaseUrl }: Stores,
  { directory, server }: { directory: string; server: string },
): object => {
  const at = (path: string): string => relative(directory, join(ROOT, 'deploy/kubernetes', path));
  const literals = (values: Readonly<Record<string, string>>) =>
    Object.entries(values).map(([name, value]) => `${name}=${value}`);
  const absent = ['redis', 'postgres'].flatMap((name) => [
    { $patch: 'delete', apiVersion: 'v1', kind: 'Service', metadata: { name } },
    { $patch: 'delete', apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name } },
  ]);
  const variables = (name: string, env: Readonly<Record<string, string>>) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      template: {
        spec: { containers: [{ name, env: Object.entries(env).map(([key, value]) => ({ name: key, value })) }] },
      },
    },
  });
  const { haproxy: _haproxy, ...services } = REPLICAS;
  const expected = Object.entries(services).map(([service, count]) => `${service}=${count}`);
  const patches = [
    ...absent,
    variables('session-service', { EXPECTED_REPLICAS: String(REPLICAS['session-service']), PG_POOL_SIZE: '5' }),
    variables('health-aggregator', {
      EXPECTED: expected.join(','),
      KUBERNETES_API_URL: server,
      POD_DELETION_COST_INTERVAL_MS: '1000',
      // Every client that moves is one that the controllers of the cluster have moved.
      REBALANCE: 'off',
    }),
  ];
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    namespace: NAMESPACE,
    resources: [at('overlays/dev')],
    components: [at('components/pod-deletion-cost')],
    replicas: Object.entries(REPLICAS).map(([name, count]) => ({ name, count })),
    patches: patches.map((patch) => ({ patch: JSON.stringify(patch) })),
    configMapGenerator: [
      {
        name: 'muster',
        behavior: 'merge',
        literals: literals({ REDIS_PREFIX: redisPrefix, TRUSTED_PROXIES: '127.0.0.0/8' }),
      },
    ],
    secretGenerator: [
      {
        name: 'muster',
        behavior: 'merge',
        literals: literals({ REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, ...KEYS }),
      },
    ],
  };
};
