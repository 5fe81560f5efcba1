import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type TestStores, testStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { documentsOf } from '../architecture/manifests/documents.ts';
import { read } from '../architecture/source-files.ts';
import { assertDelivery, FLAWLESS } from '../chaos/assert-delivery.ts';
import { type SdkClient, sdkClient, signInUser } from '../cluster/clients.ts';
import { type DeliveryWorkload, startDeliveryWorkload } from '../cluster/delivery-workload.ts';
import { readMetric } from '../observability/read-metric.ts';
import { loopbackOf } from './cluster-network.ts';
import { startMetricsAdapter } from './metrics-adapter.ts';
import type { Pod } from './pod.ts';
import { kubernetesPrograms } from './programs.ts';
import { REPLICAS, startTestCluster, type TestCluster } from './test-cluster.ts';

const LOAD = { subscribers: 30, groups: 5, publicationsPerSecond: 20 };
const GATEWAYS = REPLICAS['ws-gateway'];
/** The gateway closed the connection on purpose. */
const RECONNECT = 3001;
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';
const SAMPLE_MS = 50;
const EXTRA_CLIENTS = 5;
const programs = await kubernetesPrograms();

interface AutoscalerSpec {
  readonly metrics: [{ pods: { target: { averageValue: string } } }];
  readonly behavior: { readonly scaleDown: object };
}

describe.skipIf(programs === undefined)('the fleet on a real control plane', () => {
  let stores: TestStores;
  let cluster: TestCluster;
  beforeAll(async () => {
    if (programs === undefined) return;
    stores = await testStores({ migrate });
    cluster = await startTestCluster(programs, stores);
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await stores?.[Symbol.asyncDispose]();
  });

  const costsOf = (pods: readonly Pod[]) =>
    new Map(pods.map(({ metadata }) => [metadata.name, Number(metadata.annotations?.[DELETION_COST] ?? Number.NaN)]));
  const namesOf = (pods: readonly Pod[]): string[] => pods.map(({ metadata }) => metadata.name);
  const untilGone = (names: readonly string[]) =>
    until(() => names.filter((name) => !cluster.kubelet.terminations.has(name)), {
      ok: (left) => left.length === 0,
      what: 'the end of the old pods',
      timeoutMs: 300_000,
      intervalMs: 200,
    });
  /** Fewest ready endpoints of the gateways during `work`, as the controllers report them. */
  const fewestReady = async (work: () => Promise<unknown>): Promise<number> => {
    let fewest = Number.POSITIVE_INFINITY;
    const sampling = setInterval(() => {
      fewest = Math.min(fewest, cluster.network.readyEndpoints('ws-gateway', 'muster'));
    }, SAMPLE_MS);
    try {
      await work();
    } finally {
      clearInterval(sampling);
    }
    return fewest;
  };
  const expectFlawless = async (what: string, workload: DeliveryWorkload, ended: readonly string[]): Promise<void> => {
    expect(await assertDelivery(what, workload)).toMatchObject(FLAWLESS);
    expect(new Set(workload.clients.flatMap(({ codes }) => codes))).toEqual(new Set([RECONNECT]));
    const times = ended.map((name) => cluster.kubelet.terminations.get(name));
    process.stdout.write(`${what}: pods ended after ${times.map((time) => time?.seconds.toFixed(1)).join(', ')} s\n`);
    expect(times.filter((time) => time?.killed)).toEqual([]);
  };
  const addressOf = ({ status }: Pod): string => loopbackOf(status?.podIP ?? '');
  const connectionsOf = (pod: Pod) => readMetric(`http://${addressOf(pod)}:9090`, 'gateway_connections');
  /** Clients that are connected to gateways directly. */
  const connectTo = async (pods: readonly Pod[]) => {
    const clients: SdkClient[] = [];
    for (const pod of pods) {
      for (let count = 0; count < EXTRA_CLIENTS; count += 1) {
        const { credential } = await signInUser(cluster.access, `extra-${count}`);
        clients.push(await sdkClient(`http://${addressOf(pod)}:8080`, credential));
      }
    }
    return {
      closes: () => clients.flatMap((client) => client.closes),
      [Symbol.asyncDispose]: async () => {
        for (const client of clients) client[Symbol.dispose]();
      },
    };
  };
  /** The autoscaler of components/hpa for connections, without its waiting times. */
  const applyAutoscaler = async (connectionsPerGateway: number): Promise<void> => {
    const [autoscaler] = documentsOf(read('deploy/kubernetes/components/hpa/hpa.yaml'), 'hpa.yaml');
    const spec = autoscaler?.manifest.spec as AutoscalerSpec;
    const [byConnections] = spec.metrics;
    const file = join(cluster.control.home.path, 'autoscaler.json');
    byConnections.pods.target.averageValue = String(connectionsPerGateway);
    const scaleDown = { ...spec.behavior.scaleDown, stabilizationWindowSeconds: 0 };
    const changed = { ...spec, minReplicas: 1, metrics: [byConnections], behavior: { ...spec.behavior, scaleDown } };
    await writeFile(file, JSON.stringify({ ...autoscaler?.manifest, spec: changed }));
    await cluster.kubectl('apply', '--filename', file);
  };
  const evict = async (name: string) => {
    const path = `/api/v1/namespaces/muster/pods/${name}/eviction`;
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: 'muster' } };
    return (await cluster.control.client.call('POST', path, eviction)).status;
  };
  const untilEvictable = () =>
    until(() => cluster.kubectl('get', 'pdb', 'ws-gateway', '--output=jsonpath={.status.disruptionsAllowed}'), {
      ok: (allowed) => allowed === '1',
      what: 'the budget to permit a disruption',
      timeoutMs: 120_000,
      intervalMs: 200,
    });

  test('[KC4] a rollout replaces every gateway without a loss, and the number of ready gateways does not fall', async () => {
    await using workload = await startDeliveryWorkload(cluster.access, LOAD);
    const old = namesOf(await cluster.podsOf('ws-gateway'));
    const fewest = await fewestReady(() =>
      workload.publishDuring(async () => {
        await cluster.kubectl('rollout', 'restart', 'deployment/ws-gateway');
        await cluster.kubectl('rollout', 'status', 'deployment/ws-gateway', '--timeout=300s');
        await untilGone(old);
      }),
    );
    expect(fewest).toBe(GATEWAYS);
    await expectFlawless('rollout', workload, old);
    expect(workload.clients.filter(({ gateway }) => old.includes(gateway))).toEqual([]);
  });

  test('[KC5] the budget refuses a second eviction until the first pod is replaced', async () => {
    await using workload = await startDeliveryWorkload(cluster.access, LOAD);
    await untilEvictable();
    const [first = '', second = ''] = namesOf(await cluster.podsOf('ws-gateway'));
    await workload.publishDuring(async () => {
      expect(await evict(first)).toBe(201);
      expect(await evict(second)).toBe(429);
      await cluster.untilAvailable('ws-gateway', GATEWAYS);
      await untilEvictable();
      expect(await evict(second)).toBe(201);
      await untilGone([first, second]);
      await cluster.untilAvailable('ws-gateway', GATEWAYS);
    });
    await expectFlawless('evictions', workload, [first, second]);
  });

  test('[KC6] the autoscaler removes the gateway with the lowest deletion cost, and only its clients move', async () => {
    await using workload = await startDeliveryWorkload(cluster.access, LOAD);
    const pods = await cluster.podsOf('ws-gateway');
    // Without a deletion cost the oldest pod is the last to be removed.
    const [emptiest = '', ...others] = namesOf(
      pods.toSorted((a, b) => String(a.metadata.creationTimestamp).localeCompare(String(b.metadata.creationTimestamp))),
    );
    await using extra = await connectTo(pods.filter(({ metadata }) => others.includes(metadata.name)));
    const connections = await Promise.all(pods.map(connectionsOf));
    await until(async () => costsOf(await cluster.podsOf('ws-gateway')), {
      ok: (costs) => others.every((name) => (costs.get(emptiest) ?? Number.NaN) < (costs.get(name) ?? Number.NaN)),
      what: 'the deletion costs that the leading aggregator writes',
      timeoutMs: 60_000,
      intervalMs: 200,
    });
    process.stdout.write(`scale-in: connections of the gateways ${connections.join(', ')}\n`);
    const readConnections = async () => {
      const running = (await cluster.podsOf('ws-gateway')).filter(({ status }) => status?.podIP !== undefined);
      return new Map(
        await Promise.all(running.map(async (pod) => [pod.metadata.name, await connectionsOf(pod)] as const)),
      );
    };
    const metric = { metric: 'gateway_connections', namespace: 'muster', read: readConnections };
    await using _adapter = await startMetricsAdapter(cluster.control, metric);
    await workload.publishDuring(async () => {
      await applyAutoscaler(Math.ceil(connections.reduce((sum, one) => sum + one, 0) / (GATEWAYS - 1)));
      await untilGone([emptiest]);
      await cluster.untilAvailable('ws-gateway', GATEWAYS - 1);
    });
    expect(namesOf(await cluster.podsOf('ws-gateway')).toSorted()).toEqual(others.toSorted());
    await expectFlawless('scale-in', workload, [emptiest]);
    expect(new Set(workload.clients.flatMap(({ dropped }) => dropped))).toEqual(new Set([emptiest]));
    expect(extra.closes()).toEqual([]);
    await cluster.kubectl('delete', 'hpa', 'ws-gateway');
    await cluster.kubectl('scale', 'deployment/ws-gateway', `--replicas=${GATEWAYS}`);
    await cluster.untilAvailable('ws-gateway', GATEWAYS);
  });

  test('[KC7] the drain of a node moves its pods to other nodes without a loss', async () => {
    await using workload = await startDeliveryWorkload(cluster.access, LOAD);
    const gateways = await cluster.podsOf('ws-gateway');
    const [haproxy] = await cluster.podsOf('haproxy');
    const node = gateways.find(({ spec }) => spec.nodeName !== haproxy?.spec.nodeName)?.spec.nodeName ?? '';
    const moved = namesOf(gateways.filter(({ spec }) => spec.nodeName === node));
    await workload.publishDuring(async () => {
      await cluster.kubectl('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=300s');
      await untilGone(moved);
      for (const [deployment, replicas] of Object.entries(REPLICAS)) await cluster.untilAvailable(deployment, replicas);
    });
    const after = await cluster.podsOf('ws-gateway');
    expect(after.filter(({ spec }) => spec.nodeName === node)).toEqual([]);
    await expectFlawless('drain', workload, moved);
    await cluster.kubectl('uncordon', node);
  });
});
