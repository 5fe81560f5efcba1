import type { Document, Manifest } from './documents.ts';

interface Probe {
  readonly httpGet?: { readonly port: string };
}
interface Container {
  readonly name: string;
  readonly image: string;
  readonly ports?: readonly { readonly name: string }[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
  readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
  readonly securityContext?: {
    readonly readOnlyRootFilesystem?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[] };
  };
}
interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly topologySpreadConstraints?: readonly object[];
  readonly securityContext?: {
    readonly runAsNonRoot?: boolean;
    readonly seccompProfile?: { readonly type: string };
  };
}
interface Deployment {
  readonly strategy?: { readonly rollingUpdate?: { readonly maxUnavailable?: unknown } };
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: PodSpec;
  };
}

const GRACE_TO_SPARE_S = 25;

const all = (documents: readonly Document[], kind: string): Manifest[] =>
  documents.map(({ manifest }) => manifest).filter((manifest) => manifest.kind === kind);

const selects = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

/** Settings of these objects that a fleet in production must not have, or leave out. */
export const policyProblems = (documents: readonly Document[]): string[] => {
  const deployments = all(documents, 'Deployment');
  return [
    ...deployments.flatMap((manifest) => {
      const spec = manifest.spec as Deployment;
      const problems = [
        ...rolloutProblems(spec),
        ...podProblems(spec.template.spec),
        ...spec.template.spec.containers.flatMap(containerProblems),
        ...[...spec.template.spec.containers, ...(spec.template.spec.initContainers ?? [])].flatMap(securityProblems),
        ...(hasBudget(documents, spec) ? [] : ['no PodDisruptionBudget selects it']),
      ];
      return problems.map((problem) => `${manifest.metadata.name}: ${problem}`);
    }),
    ...serviceProblems(documents),
  ];
};

const rolloutProblems = ({ strategy, selector, template }: Deployment): string[] => [
  ...(strategy?.rollingUpdate?.maxUnavailable === 0 ? [] : ['maxUnavailable is not 0']),
  ...(selects(selector.matchLabels, template.metadata.labels) ? [] : ['its selector misses its own pods']),
];

const podProblems = (pod: PodSpec): string[] => {
  const [container] = pod.containers;
  const drainMs = Number(container?.env?.find(({ name }) => name === 'DRAIN_TIMEOUT_MS')?.value ?? 0);
  const needed = (container?.lifecycle?.preStop?.sleep?.seconds ?? 0) + drainMs / 1000 + GRACE_TO_SPARE_S;
  return [
    ...(pod.automountServiceAccountToken === false ? [] : ['mounts a token of the API server']),
    ...(pod.enableServiceLinks === false ? [] : ['gets the addresses of all services as variables']),
    ...((pod.terminationGracePeriodSeconds ?? 30) >= needed ? [] : [`needs ${needed} s to end`]),
    ...((pod.topologySpreadConstraints ?? []).length > 0 ? [] : ['is not spread']),
    ...(pod.securityContext?.runAsNonRoot === true ? [] : ['may run as root']),
    ...(pod.securityContext?.seccompProfile?.type === 'RuntimeDefault' ? [] : ['has no seccomp profile']),
  ];
};

const containerProblems = (container: Container): string[] => {
  const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'] as const;
  const ports = container.ports?.map(({ name }) => name) ?? [];
  return [
    ...probes.filter((probe) => container[probe] === undefined).map((probe) => `has no ${probe}`),
    ...probes
      .map((probe) => container[probe]?.httpGet?.port)
      .filter((port) => port !== undefined && !ports.includes(port))
      .map((port) => `probes a port ${port} that it does not have`),
    ...(container.name === 'haproxy' || container.readinessProbe?.httpGet?.port === 'http'
      ? []
      : ['is not asked on its public port whether it is ready']),
    ...((container.lifecycle?.preStop?.sleep?.seconds ?? 0) >= 5 ? [] : ['ends before load balancers know of it']),
    ...(container.resources?.limits?.['cpu'] === undefined ? [] : ['has a limit of CPU']),
    ...(container.resources?.limits?.['memory'] === undefined ? ['has no limit of memory'] : []),
  ];
};

const securityProblems = ({ name, image, securityContext: security }: Container): string[] =>
  [
    ...(/:[^/]+$/.test(image) && !image.endsWith(':latest') ? [] : ['an image without a version']),
    ...(security?.readOnlyRootFilesystem === true ? [] : ['can write its root file system']),
    ...(security?.allowPrivilegeEscalation === false ? [] : ['may gain privileges']),
    ...(security?.capabilities?.drop?.includes('ALL') ? [] : ['keeps capabilities']),
  ].map((problem) => `${name} ${problem}`);

const hasBudget = (documents: readonly Document[], { template }: Deployment): boolean =>
  all(documents, 'PodDisruptionBudget').some((budget) => {
    const { selector } = budget.spec as { selector: { matchLabels: Record<string, string> } };
    return selects(selector.matchLabels, template.metadata.labels);
  });

/** Services have pods, and ports that these have. */
const serviceProblems = (documents: readonly Document[]): string[] =>
  all(documents, 'Service').flatMap((service) => {
    const { selector, ports } = service.spec as {
      selector: Record<string, string>;
      ports: readonly { targetPort: string }[];
    };
    const pods = [...all(documents, 'Deployment'), ...all(documents, 'StatefulSet')]
      .map(({ spec }) => (spec as Deployment).template)
      .filter(({ metadata }) => selects(selector, metadata.labels));
    const named = pods.flatMap(({ spec }) => spec.containers.flatMap(({ ports: its }) => its ?? []));
    return [
      ...(pods.length > 0 ? [] : [`${service.metadata.name}: selects no pods`]),
      ...ports
        .filter(({ targetPort }) => !named.some(({ name }) => name === targetPort))
        .map(({ targetPort }) => `${service.metadata.name}: nobody has the port ${targetPort}`),
    ];
  });
