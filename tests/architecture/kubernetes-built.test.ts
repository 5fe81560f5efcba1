import { expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { built, builtWith, type Document, type Manifest } from './manifests/documents.ts';
import { policyProblems } from './manifests/policies.ts';
import { read } from './source-files.ts';

// kubectl builds each form; a busy machine may take its time.
vi.setConfig({ testTimeout: 120_000 });

interface Autoscaler {
  readonly scaleTargetRef: { readonly name: string };
  readonly minReplicas?: number;
  readonly minReplicaCount?: number;
  readonly maxReplicas?: number;
}
interface Deployment {
  readonly replicas?: number;
  readonly template: {
    readonly spec: {
      readonly serviceAccountName?: string;
      readonly topologySpreadConstraints?: readonly { topologyKey: string; whenUnsatisfiable: string }[];
      readonly containers: readonly {
        readonly name: string;
        readonly image: string;
        readonly env?: readonly { readonly name: string; readonly value?: string }[];
      }[];
    };
  };
}
interface Policy {
  readonly podSelector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly egress?: readonly {
    readonly to?: readonly { readonly ipBlock?: { cidr: string }; readonly namespaceSelector?: object }[];
    readonly ports?: readonly { readonly port: number | string }[];
  }[];
}

const FORMS = {
  'overlay dev': built('dev'),
  'overlay ha': built('ha'),
  'base with hpa': builtWith(['hpa']),
  'base with keda': builtWith(['keda']),
  'base with one-per-zone': builtWith(['one-per-zone']),
  'base with pod-deletion-cost': builtWith(['pod-deletion-cost']),
};
const forms = Object.entries(FORMS).flatMap(([name, documents]) =>
  documents === undefined ? [] : [[name, documents] as const],
);
if (forms.length === 0) process.stdout.write('kubernetes: nothing is built, kubectl is missing\n');

const all = (documents: readonly Document[], kind: string): Manifest[] =>
  documents.map(({ manifest }) => manifest).filter((manifest) => manifest.kind === kind);
const deployment = (documents: readonly Document[], name: string): Deployment =>
  all(documents, 'Deployment').find(({ metadata }) => metadata.name === name)?.spec as Deployment;
const autoscalers = (documents: readonly Document[]): Autoscaler[] =>
  [...all(documents, 'HorizontalPodAutoscaler'), ...all(documents, 'ScaledObject')].map(
    ({ spec }) => spec as Autoscaler,
  );
const scalerOf = (documents: readonly Document[], name: string): Autoscaler | undefined =>
  autoscalers(documents).find(({ scaleTargetRef }) => scaleTargetRef.name === name);
const variable = (documents: readonly Document[], service: string, name: string): string | undefined =>
  deployment(documents, service)
    .template.spec.containers.find((container) => container.name === service)
    ?.env?.find((one) => one.name === name)?.value;

test.runIf(forms.length > 0)('[KM8] what an autoscaler scales has no number of replicas of its own', () => {
  const scaled = forms.flatMap(([form, documents]) =>
    autoscalers(documents).map(({ scaleTargetRef: { name } }) => [form, name, deployment(documents, name).replicas]),
  );
  expect(scaled.length).toBeGreaterThan(3);
  expect(scaled.filter(([, , replicas]) => replicas !== undefined)).toEqual([]);
});

test.for(forms)('[KM9] %s: the budget of connections covers every session service', ([, documents]) => {
  const most = scalerOf(documents, 'session-service')?.maxReplicas ?? deployment(documents, 'session-service').replicas;
  expect(variable(documents, 'session-service', 'EXPECTED_REPLICAS')).toBe(String(most));
});

test.for(forms.filter(([name]) => name.startsWith('overlay')))(
  '[KM9] %s: aggregators expect the replicas that there are',
  ([, documents]) => {
    const expected = ['session-service', 'ws-gateway', 'health-aggregator'].map((service) => {
      const { minReplicas, minReplicaCount } = scalerOf(documents, service) ?? {};
      return `${service}=${minReplicas ?? minReplicaCount ?? deployment(documents, service).replicas}`;
    });
    expect(variable(documents, 'health-aggregator', 'EXPECTED')).toBe(expected.join(','));
  },
);

test.runIf(FORMS['overlay dev'])('[KM10] the images of dev are those of docker compose build', () => {
  const { services } = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<string, { image: string }>;
  };
  const images = ['session-service', 'ws-gateway', 'health-aggregator'].map((service) => [
    deployment(FORMS['overlay dev'] ?? [], service).template.spec.containers[0]?.image,
    services[service]?.image.replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1'),
  ]);
  for (const [image, made] of images) expect(image).toBe(made);
});

test.runIf(FORMS['overlay ha'])(
  '[KM11] given the network policies, then gateways reach https and the application, and every pod the DNS of the node',
  () => {
    const policies = all(FORMS['overlay ha'] ?? [], 'NetworkPolicy').map(({ spec }) => spec as Policy);
    const rulesFor = (label: string, value: string) =>
      policies
        .filter(({ podSelector }) => podSelector.matchLabels[label] === value)
        .flatMap(({ egress = [] }) => egress);
    const gateway = rulesFor('app.kubernetes.io/name', 'ws-gateway');
    expect(gateway).toContainEqual({ ports: [{ protocol: 'TCP', port: 443 }] });
    expect(gateway).toContainEqual({
      to: [{ namespaceSelector: { matchLabels: { 'muster.dev/role': 'application' } } }],
    });
    const dns = rulesFor('app.kubernetes.io/part-of', 'muster').find(({ ports = [] }) =>
      ports.some(({ port }) => port === 53),
    );
    expect(dns?.to).toContainEqual({ ipBlock: { cidr: '169.254.0.0/16' } });
    expect(dns?.ports?.map(({ port }) => port)).toContain(5_353);
  },
);

test.runIf(FORMS['overlay dev'])(
  '[KM11] HAProxy sees the addresses of clients, and every service trusts its network',
  () => {
    const documents = FORMS['overlay dev'] ?? [];
    const haproxy = all(documents, 'Service').find(({ metadata }) => metadata.name === 'haproxy');
    expect(haproxy?.spec).toMatchObject({ type: 'LoadBalancer', externalTrafficPolicy: 'Local' });
    for (const [, form] of forms) {
      const config = all(form, 'ConfigMap').find(({ metadata }) => /^muster-/.test(metadata.name));
      expect(config?.data?.['TRUSTED_PROXIES']?.split(',')).toEqual(
        expect.arrayContaining(['10.0.0.0/8', '100.64.0.0/10']),
      );
    }
  },
);

test.runIf(forms.length > 0)('[KM12] only the component one-per-zone demands zones', () => {
  const demanding = forms.filter(([, documents]) =>
    all(documents, 'Deployment').some(({ spec }) =>
      (spec as Deployment).template.spec.topologySpreadConstraints?.some(
        ({ topologyKey, whenUnsatisfiable }) =>
          topologyKey === 'topology.kubernetes.io/zone' && whenUnsatisfiable === 'DoNotSchedule',
      ),
    ),
  );
  expect(demanding.map(([name]) => name)).toEqual(['base with one-per-zone']);
});

test.for(forms.filter(([name]) => name.includes('pod-deletion-cost')))(
  '[KM13] %s: the aggregator may patch pods of its namespace, and nothing else',
  ([, documents]) => {
    expect(all(documents, 'Role')).toMatchObject([
      { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['patch'] }] },
    ]);
    expect(all(documents, 'RoleBinding')).toMatchObject([
      { subjects: [{ kind: 'ServiceAccount', name: 'health-aggregator' }] },
    ]);
    const services = ['session-service', 'ws-gateway', 'health-aggregator'];
    const accounts = services.map((name) => deployment(documents, name).template.spec.serviceAccountName);
    expect(accounts).toEqual([undefined, undefined, 'health-aggregator']);
    expect(variable(documents, 'health-aggregator', 'POD_DELETION_COST')).toBe('on');
    expect(policyProblems(documents)).toEqual([]);
  },
);
