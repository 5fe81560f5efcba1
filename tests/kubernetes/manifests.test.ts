import { execFileSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../architecture/source-files.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { customResources, kubernetesPrograms } from './programs.ts';

const DEPLOY = join(ROOT, 'deploy');
const STRICTLY = ['apply', '--server-side', '--validate=strict'];
const programs = await kubernetesPrograms();
/** Kinds of custom resources whose definitions are not available. */
const UNKNOWN_KIND = /no matches for kind/;

describe.skipIf(programs === undefined)('the manifests at a real kube-apiserver', () => {
  let control: ControlPlane;
  let hasAllKinds = false;
  beforeAll(async () => {
    if (programs === undefined) return;
    control = await startControlPlane(programs);
    const { files, missing } = await customResources();
    hasAllKinds = missing.length === 0;
    for (const file of files) await control.kubectl('apply', '--server-side', '--filename', file);
    await until(() => control.kubectl('get', 'crd', '--output', 'jsonpath={.items[*].status.conditions[*].type}'), {
      ok: (types) => types.split(' ').filter((type) => type === 'Established').length === files.length,
      what: 'the custom resources',
    });
    await control.kubectl('create', 'namespace', 'muster');
  });
  afterAll(() => control?.[Symbol.asyncDispose]());

  const kustomization = async (name: string, components: readonly string[]): Promise<string> => {
    const directory = join(control.home.path, name);
    const at = (path: string) => relative(directory, join(DEPLOY, path));
    await mkdir(directory);
    await writeFile(
      join(directory, 'kustomization.yaml'),
      JSON.stringify({ namespace: 'muster', resources: [at('kubernetes/base')], components: components.map(at) }),
    );
    return directory;
  };
  /** Applies for real, so that later changes are checked as well. Answers with the objects. */
  const apply = async (...args: readonly string[]): Promise<string[]> => {
    try {
      return (await control.kubectl(...STRICTLY, ...args)).trim().split('\n');
    } catch (error) {
      // Without their definitions the other objects are accepted all the same.
      if (hasAllKinds || !UNKNOWN_KIND.test(String(error))) throw error;
      return [];
    }
  };

  test.for(['dev', 'ha'])('[KC1] the overlay %s is accepted, and a second time without a conflict', async (overlay) => {
    for (let time = 0; time < 2; time += 1) {
      const objects = await apply('--kustomize', join(DEPLOY, 'kubernetes/overlays', overlay));
      expect(objects.filter((line) => !line.endsWith(' serverside-applied'))).toEqual([]);
    }
  });

  test('[KC1] every component is accepted', async () => {
    const kubernetes = ['hpa', 'one-per-zone', 'gateway-api', 'monitoring', 'network-policies', 'pod-deletion-cost'];
    const directory = await kustomization('components', [
      ...kubernetes.map((name) => `kubernetes/components/${name}`),
      'haproxy',
    ]);
    expect((await apply('--kustomize', directory)).length).toBeGreaterThan(20);
  });

  test('[KC1] the alerts are accepted as objects of the Prometheus operator', async () => {
    const script = join(DEPLOY, 'kubernetes/components/monitoring/rules.mjs');
    const file = join(control.home.path, 'rules.yaml');
    await writeFile(file, execFileSync(process.execPath, [script]));
    const objects = await apply('--namespace', 'muster', '--filename', file);
    if (hasAllKinds) expect(objects).toHaveLength(2);
  });

  test('[KC1] what the Helm chart renders is accepted', async () => {
    for (const overlay of ['dev', 'ha']) {
      const chart = join(DEPLOY, 'helm/muster');
      const values = join(chart, `values-${overlay}.yaml`);
      const file = join(control.home.path, `chart-${overlay}.yaml`);
      await writeFile(
        file,
        await control.helm('template', 'muster', chart, '--namespace', 'muster', '--values', values),
      );
      expect((await apply('--dry-run=server', '--force-conflicts', '--filename', file)).length).toBeGreaterThan(10);
    }
  });

  test('[KC2] a field that Kubernetes does not have is rejected', async () => {
    const file = join(control.home.path, 'mistake.yaml');
    const text = await readFile(join(DEPLOY, 'kubernetes/base/ws-gateway.yaml'), 'utf8');
    await writeFile(file, text.replace('preStop:', 'prestop:'));
    await expect(control.kubectl(...STRICTLY, '--namespace', 'muster', '--filename', file)).rejects.toThrow(
      /prestop: field not declared/,
    );
  });

  test('[KC3] the pods of the overlay ha conform to the security standard of its namespace', async () => {
    await apply('--force-conflicts', '--kustomize', join(DEPLOY, 'kubernetes/overlays/ha'));
    const security = await control.kubectl('get', 'namespace', 'muster', '--output', 'jsonpath={.metadata.labels}');
    expect(security).toContain('"pod-security.kubernetes.io/enforce":"restricted"');
    const services = ['session-service', 'ws-gateway', 'health-aggregator'];
    await control.kubectl('--namespace', 'muster', 'rollout', 'restart', ...services.map((one) => `deployment/${one}`));
    for (const service of services) {
      const updated = '--output=jsonpath={.metadata.generation}/{.status.observedGeneration}/{.status.updatedReplicas}';
      await until(() => control.kubectl('--namespace', 'muster', 'get', 'deployment', service, updated), {
        ok: (text) => /^(\d+)\/\1\/[1-9]/.test(text),
        what: `a new pod of ${service}`,
        timeoutMs: 60_000,
        intervalMs: 200,
      });
    }
  });
});
