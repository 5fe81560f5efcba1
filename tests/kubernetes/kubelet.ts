import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '@muster/local/child-process';
import type { TestDirectory } from '@muster/testkit/test-directory';
import { type ClusterNetwork, loopbackOf } from './cluster-network.ts';
import type { KubernetesClient } from './kubernetes-client.ts';
import { type Container, type Pod, type PodEnvironment, processOf, writeVolumes } from './pod.ts';
import { type HttpProbe, runProbe } from './probes.ts';

const LEASE_MS = 5_000;
const RESTART_MS = 1_000;
const LONGEST_RESTART_MS = 30_000;
/** Exit code of a process that SIGKILL ended. */
const KILLED = 137;
/** Of processes that a killed run has left. */
const STOP_DEADLINE_MS = 2_000;
const CAPACITY = { cpu: '64', memory: '256Gi', pods: '110', 'ephemeral-storage': '100Gi' };

/** Nodes whose pods are processes of this machine. Disposing it kills them. */
export interface TestKubelet extends AsyncDisposable {
  /** Seconds from the deletion of a pod to the end of its process, and whether it was killed, by pod. */
  readonly terminations: Map<string, { readonly seconds: number; readonly killed: boolean }>;
}

/** Fields of a status that the pod workers set. */
interface ContainerState {
  readonly isReady: boolean;
  readonly isStarted: boolean;
  readonly restarts: number;
  readonly exitCode: number | undefined;
  readonly phase: 'Pending' | 'Running';
}

/** Registers nodes, runs the pods that the scheduler binds to them, and reports their status. */
export const startKubelet = async (
  client: KubernetesClient,
  network: ClusterNetwork,
  { nodes, directory }: { nodes: readonly string[]; directory: TestDirectory },
): Promise<TestKubelet> => {
  const stopped = new AbortController();
  const workers = new Map<string, PodWorker>();
  const terminations: TestKubelet['terminations'] = new Map();
  for (const name of nodes) await registerNode(client, name);
  const renewing = setInterval(() => {
    for (const name of nodes) renewLease(client, name).catch(() => {});
  }, LEASE_MS);
  client.watch<Pod>('/api/v1/pods', stopped.signal, ({ type, object: pod }) => {
    const { uid = '', name } = pod.metadata;
    if (!nodes.includes(pod.spec.nodeName ?? '')) return;
    const known = workers.get(uid);
    if (type === 'DELETED') return void known?.kill();
    if (known !== undefined) return known.update(pod);
    if (pod.metadata.deletionTimestamp !== undefined || ['Succeeded', 'Failed'].includes(pod.status?.phase ?? ''))
      return;
    const home = join(directory.path, `${name}-${uid.slice(0, 8)}`);
    mkdirSync(home, { recursive: true });
    const environment = { client, network, address: network.nextPodAddress(), directory: home };
    workers.set(
      uid,
      createPodWorker(pod, environment, { home: directory, onEnd: (end) => terminations.set(name, end) }),
    );
  });
  return {
    terminations,
    [Symbol.asyncDispose]: async () => {
      stopped.abort();
      clearInterval(renewing);
      await Promise.all([...workers.values()].map((worker) => worker.kill()));
    },
  };
};

const registerNode = async (client: KubernetesClient, name: string): Promise<void> => {
  const labels = { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', 'topology.kubernetes.io/zone': name };
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } };
  await client.call('POST', '/api/v1/nodes', node);
  const now = new Date().toISOString();
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'KubeletReady',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  const status = { capacity: CAPACITY, allocatable: CAPACITY, conditions: [ready] };
  await client.patch(`/api/v1/nodes/${name}/status`, 'strategic', { status });
  await renewLease(client, name);
};

const renewLease = (client: KubernetesClient, name: string): Promise<unknown> =>
  client.patch(
    `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${name}?fieldManager=kubelet&force=true`,
    'apply',
    {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name },
      spec: {
        holderIdentity: name,
        leaseDurationSeconds: 40,
        renewTime: new Date().toISOString().replace('Z', '000Z'),
      },
    },
  );

interface PodWorker {
  update(pod: Pod): void;
  kill(): Promise<void>;
}

/** Runs one pod from its start to its end. */
const createPodWorker = (
  pod: Pod,
  environment: PodEnvironment,
  { home, onEnd }: { home: TestDirectory; onEnd: (end: { seconds: number; killed: boolean }) => void },
): PodWorker => {
  const { client, address } = environment;
  const { name, namespace, uid } = pod.metadata;
  const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
  const [container] = pod.spec.containers;
  const startTime = new Date().toISOString();
  const stopping = new AbortController();
  const probing = new AbortController();
  let child: Child | undefined;
  let state: ContainerState = { phase: 'Pending', isReady: false, isStarted: false, restarts: 0, exitCode: undefined };
  let reporting: Promise<unknown> = Promise.resolve();

  /** Reports in order; a pod that is gone needs no status. */
  const report = (change: Partial<ContainerState>): void => {
    state = { ...state, ...change };
    const status = statusOf(container, { ...state, address, startTime });
    reporting = reporting.then(() => client.patch(`${path}/status`, 'strategic', { status })).catch(() => {});
  };

  /** Probes of one process, until it ends. */
  const probe = (process: Child): void => {
    const isOver = AbortSignal.any([probing.signal, ended(process)]);
    const watch = (of: HttpProbe | undefined, signal: AbortSignal, onChange: (isSuccess: boolean) => void) => {
      if (of !== undefined) void runProbe(of, urlOf(of, container, address), signal, onChange);
    };
    const restart = (isSuccess: boolean) => {
      if (!isSuccess) process.kill('SIGKILL');
    };
    const startup = new AbortController();
    const started = (isSuccess: boolean): void => {
      startup.abort();
      if (!isSuccess) {
        restart(false);
        return;
      }
      report({ isStarted: true, isReady: container.readinessProbe === undefined });
      watch(container.readinessProbe, isOver, (isReady) => report({ isReady }));
      watch(container.livenessProbe, AbortSignal.any([isOver, stopping.signal]), restart);
    };
    if (container.startupProbe === undefined) started(true);
    else watch(container.startupProbe, AbortSignal.any([isOver, startup.signal, stopping.signal]), started);
  };

  /** Resolves with the exit code of the process; undefined when the pod ends before it starts. */
  const run = async (of: Container, onStart: (process: Child) => void = () => {}): Promise<number | undefined> => {
    const options = await processOf(pod, of, environment);
    if (stopping.signal.aborted) return undefined;
    const started = await home.start({
      child: options,
      isReady: async () => true,
      stopSignal: 'SIGTERM',
      stopDeadlineMs: STOP_DEADLINE_MS,
    });
    child = started;
    if (stopping.signal.aborted) started.kill('SIGTERM');
    else onStart(started);
    return (await started.exited).code ?? KILLED;
  };
  const start = async (): Promise<void> => {
    report({ phase: 'Pending' });
    await writeVolumes(pod, environment);
    for (const init of pod.spec.initContainers ?? []) {
      while (!stopping.signal.aborted && (await run(init)) !== 0) await pause(RESTART_MS, stopping.signal);
    }
    while (!stopping.signal.aborted) {
      const exitCode = await run(container, (process) => {
        report({ phase: 'Running', exitCode: undefined });
        probe(process);
      });
      if (stopping.signal.aborted) return;
      report({ isReady: false, isStarted: false, restarts: state.restarts + 1, exitCode });
      await pause(Math.min(LONGEST_RESTART_MS, RESTART_MS * 2 ** state.restarts), stopping.signal);
    }
  };

  /** preStop, SIGTERM, and SIGKILL at the end of the grace period; then the object is deleted. */
  const terminate = async (graceMs: number): Promise<void> => {
    const startedAt = performance.now();
    const left = (): number => Math.max(0, startedAt + graceMs - performance.now());
    const preStopMs = 1_000 * (container.lifecycle?.preStop?.sleep?.seconds ?? 0);
    if (child?.isRunning()) await Promise.race([sleep(Math.min(preStopMs, graceMs)), child.exited]);
    const exit = await child?.stop({ signal: 'SIGTERM', deadlineMs: left() });
    probing.abort();
    onEnd({ seconds: (performance.now() - startedAt) / 1_000, killed: exit?.forced ?? false });
    await finished;
    report({ isReady: false, isStarted: false, exitCode: exit?.code ?? KILLED });
    await reporting;
    await client.call('DELETE', path, { gracePeriodSeconds: 0, preconditions: { uid } });
  };

  const finished = start().catch((error) => process.stdout.write(`kubelet: ${name}: ${error}\n`));
  return {
    update: ({ metadata }) => {
      if (metadata.deletionTimestamp === undefined || stopping.signal.aborted) return;
      stopping.abort();
      void terminate(1_000 * (metadata.deletionGracePeriodSeconds ?? 30)).catch(() => {});
    },
    kill: async () => {
      stopping.abort();
      probing.abort();
      await child?.stop({ signal: 'SIGKILL', deadlineMs: 0 });
      await finished;
    },
  };
};

const pause = (ms: number, signal: AbortSignal): Promise<unknown> => sleep(ms, undefined, { signal }).catch(() => {});

const ended = (child: Child): AbortSignal => {
  const controller = new AbortController();
  void child.exited.then(() => controller.abort());
  return controller.signal;
};

const urlOf = ({ httpGet }: HttpProbe, container: Container, address: string): string => {
  const port = container.ports?.find(({ name }) => name === httpGet.port)?.containerPort ?? httpGet.port;
  return `http://${loopbackOf(address)}:${port}${httpGet.path}`;
};

const statusOf = (
  { name, image }: Container,
  {
    phase,
    isReady,
    isStarted,
    restarts,
    exitCode,
    address,
    startTime,
  }: ContainerState & Record<'address' | 'startTime', string>,
): object => {
  const lastTransitionTime = new Date().toISOString();
  const condition = (type: string, isTrue: boolean) => ({
    type,
    status: isTrue ? 'True' : 'False',
    lastTransitionTime,
  });
  const isRunning = phase === 'Running' && exitCode === undefined;
  return {
    phase,
    podIP: address,
    podIPs: [{ ip: address }],
    hostIP: '127.0.0.1',
    startTime,
    conditions: [
      condition('Initialized', phase === 'Running'),
      condition('ContainersReady', isReady),
      condition('Ready', isReady),
    ],
    containerStatuses: [
      {
        name,
        image,
        imageID: image,
        ready: isReady,
        started: isStarted,
        restartCount: restarts,
        state: isRunning
          ? { running: { startedAt: startTime } }
          : exitCode === undefined
            ? { waiting: { reason: 'PodInitializing' } }
            : { terminated: { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error' } },
      },
    ],
  };
};
