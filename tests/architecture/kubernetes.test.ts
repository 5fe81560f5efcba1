import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';
import { describe, expect, test, vi } from 'vitest';
import {
  built,
  type Document,
  documentsOf,
  kustomizationAt,
  kustomizations,
  patchDocuments,
  wholeDocuments,
} from './manifests/documents.ts';
import { policyProblems } from './manifests/policies.ts';
import { fieldProblems, schemaProblems } from './manifests/schemas.ts';
import { ROOT, read } from './source-files.ts';

const SETTINGS: Record<string, object> = {
  'session-service': sessionSettings.shape,
  'ws-gateway': gatewaySettings.shape,
  'health-aggregator': aggregatorSettings.shape,
};
/** Variables of Node and of Kubernetes, which no service reads by itself. */
const NOT_OURS = ['NODE_OPTIONS', 'POD_IP'];
// The compiler is called, and a busy machine may take its time.
vi.setConfig({ testTimeout: 120_000 });

const overlays = ['dev', 'ha'].map((name) => [name, built(name)] as const);
if (overlays.some(([, documents]) => documents === undefined))
  process.stdout.write('kubernetes: overlays are not built, kubectl is missing; their files are checked one by one\n');
const builtDocuments = overlays.flatMap(([, documents]) => documents ?? []);

test('[KM1] every object fits the schemas of Kubernetes', async () => {
  expect(wholeDocuments().length).toBeGreaterThan(20);
  expect(await schemaProblems([...wholeDocuments(), ...builtDocuments])).toEqual([]);
});

test('[KM1] no object and no patch has a field that Kubernetes does not know', async () => {
  expect(await fieldProblems([...wholeDocuments(), ...builtDocuments], patchDocuments())).toEqual([]);
});

test('[KM2] every file that a kustomization names is there', () => {
  const missing = kustomizations().flatMap((path) => {
    const {
      resources = [],
      components = [],
      patches = [],
    } = kustomizationAt(path) as {
      resources?: string[];
      components?: string[];
      patches?: { path: string }[];
    };
    return [...resources, ...components, ...patches.map((patch) => patch.path)]
      .filter((target) => !existsSync(join(ROOT, path, '..', target)))
      .map((target) => `${path} → ${target}`);
  });
  expect(missing).toEqual([]);
});

const base = wholeDocuments().filter(({ from }) => /kubernetes\/base|haproxy/.test(from));

const forms = [['the files', base] as const, ...overlays.filter(([, documents]) => documents !== undefined)];

test.each(forms)(
  '[KM3] pods of %s are probed, spread, drained in time, without privileges, and never all away',
  (_, documents) => {
    expect(policyProblems(documents ?? [])).toEqual([]);
  },
);

test('[KM4] every variable is one that the service reads', () => {
  const unknown = [...base, ...patchDocuments(), ...builtDocuments].flatMap(({ from, manifest }) =>
    containersOf(manifest).flatMap(({ name, env = [] }) => {
      const settings = SETTINGS[name === 'migrate' ? 'session-service' : name];
      return env
        .map((variable) => variable.name)
        .filter((one) => settings !== undefined && !NOT_OURS.includes(one))
        .filter((one) => !(one in (settings ?? {})) && !(one.replace(/_FILE$/, '') in (settings ?? {})))
        .map((one) => `${from} ${name}: ${one}`);
    }),
  );
  expect(unknown).toEqual([]);
});

test('[KM4] every variable for all is one that some service reads', () => {
  const known = new Set(Object.values(SETTINGS).flatMap((shape) => Object.keys(shape)));
  const given = builtDocuments
    .filter(({ manifest }) => manifest.kind === 'ConfigMap' && manifest.metadata.name.startsWith('muster'))
    .flatMap(({ manifest }) => Object.keys(manifest.data ?? {}));
  expect(given.filter((name) => !known.has(name))).toEqual([]);
});

const containersOf = (manifest: Document['manifest']) => {
  const { template } = (manifest.spec ?? {}) as {
    template?: { spec?: { containers?: Named[]; initContainers?: Named[] } };
  };
  return [...(template?.spec?.containers ?? []), ...(template?.spec?.initContainers ?? [])];
};

interface Named {
  readonly name: string;
  readonly env?: { readonly name: string }[];
}

test('[KM6] the alerts of deploy/prometheus become objects of the Prometheus operator', async () => {
  const script = join(ROOT, 'deploy/kubernetes/components/monitoring/rules.mjs');
  const rules = documentsOf(execFileSync(process.execPath, [script], { encoding: 'utf8' }), 'rules.mjs');
  const alerts = rules.flatMap(({ manifest }) =>
    (manifest.spec as { groups: { rules: { alert?: string }[] }[] }).groups.flatMap((group) => group.rules),
  );
  expect(alerts.length).toBeGreaterThan(20);
  expect(await schemaProblems(rules)).toEqual([]);
  expect(await fieldProblems(rules)).toEqual([]);
});

describe('[KM5] mistakes are found', () => {
  const gateway = () => read('deploy/kubernetes/base/ws-gateway.yaml');
  const changed = (from: string, to: string): Document[] => {
    const text = gateway();
    expect(text).toContain(from);
    return documentsOf(text.replace(from, to), 'a mistake');
  };

  test('a wrong type', async () => {
    expect(await schemaProblems(changed('replicas: 3', 'replicas: three'))).toHaveLength(1);
  });

  test('a missing field', async () => {
    const problems = await schemaProblems(
      changed('    matchLabels:\n      app.kubernetes.io/name: ws-gateway\n  strategy', '  strategy'),
    );
    expect(problems).not.toEqual([]);
  });

  test('a misspelt field, in an object and in a patch', async () => {
    const whole = changed('preStop:', 'prestop:');
    const part = documentsOf(
      read('deploy/kubernetes/overlays/ha/health-aggregator.yaml').replace('containers:', 'container:'),
      'a mistaken patch',
    );
    const problems = await fieldProblems(whole, part);
    expect(problems).toEqual([expect.stringMatching(/prestop/), expect.stringMatching(/container/)]);
  });

  test.each([
    ['a budget that is missing', 'kind: PodDisruptionBudget', 'kind: Other', /no PodDisruptionBudget/],
    ['too little time to drain', 'terminationGracePeriodSeconds: 120', 'terminationGracePeriodSeconds: 60', /90 s/],
    ['a probe of no port', 'path: /livez\n              port: ops', 'path: /livez\n              port: oops', /oops/],
    [
      'a service without pods',
      'selector:\n    app.kubernetes.io/name: ws-gateway\n  ports',
      'selector:\n    app: x\n  ports',
      /no pods/,
    ],
    ['a writable root', 'readOnlyRootFilesystem: true', 'readOnlyRootFilesystem: false', /can write/],
    ['a limit of CPU', 'limits:\n', 'limits:\n              cpu: 500m\n', /limit of CPU/],
  ])('%s', (_, from, to, complaint) => {
    expect(policyProblems(changed(from, to))).toContainEqual(expect.stringMatching(complaint));
  });
});
