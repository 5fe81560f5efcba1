import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { built, builtWith, type Document, documentsOf, type Manifest } from '../architecture/manifests/documents.ts';
import { ROOT } from '../architecture/source-files.ts';
import { kubernetesPrograms } from './programs.ts';

const CHART = join(ROOT, 'deploy/helm/muster');
const MOST_OUTPUT_BYTES = 32 * 1024 * 1024;
const run = promisify(execFile);
const programs = await kubernetesPrograms();

describe.skipIf(programs === undefined)('the Helm chart', () => {
  const kubectl = [programs?.kubernetes ?? '', 'kubectl'] as const;
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'muster-chart-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const helm = async (...args: readonly string[]): Promise<string> =>
    (await run(programs?.helm ?? '', [...args], { cwd: directory, maxBuffer: MOST_OUTPUT_BYTES })).stdout;
  const rendered = async (args: readonly string[], chart = CHART): Promise<Record<string, Manifest>> =>
    comparable(documentsOf(await helm('template', 'muster', chart, '--namespace', 'muster', ...args), 'helm'));
  const valuesOf = (overlay: string) => ['--values', join(CHART, `values-${overlay}.yaml`)];

  test.for(['dev', 'ha'])(
    '[HC1] given the values of %s, then the chart renders the objects of the overlay',
    async (overlay) => {
      const expected = comparable(built(overlay, kubectl) ?? []);
      expect(Object.keys(expected).length).toBeGreaterThan(10);
      expect(await rendered(valuesOf(overlay))).toEqual(expected);
    },
  );

  test('[HC1] given the values of other components, then the chart renders their objects', async () => {
    const expected = comparable(builtWith(['hpa', 'one-per-zone', 'pod-deletion-cost'], kubectl) ?? []);
    const values = 'autoscaling.by=hpa,onePerZone=true,podDeletionCost=true';
    expect(await rendered(['--set', values])).toEqual(expected);
  });

  test('[HC2] a packaged chart renders the same objects', async () => {
    await helm('package', CHART, '--destination', directory);
    const [archive = ''] = readdirSync(directory).filter((name) => name.endsWith('.tgz'));
    expect(await rendered(valuesOf('ha'), join(directory, archive))).toEqual(await rendered(valuesOf('ha')));
  });

  test.for([
    ['an unknown value', 'services.ws-gateway.replica=2', /replica/],
    ['a number that is a text', 'services.ws-gateway.replicas=two', /replicas/],
    ['an unknown autoscaler', 'autoscaling.by=vpa', /autoscaling/],
    ['a variable in lower case', 'config.public_url=x', /config/],
  ] as const)('[HC3] %s is rejected with its name', async ([, value, name]) => {
    await expect(helm('template', 'muster', CHART, '--set', value)).rejects.toThrow(name);
  });

  test('[HC4] helm lint has no complaint about the values of an overlay', async () => {
    for (const overlay of ['dev', 'ha']) {
      expect(await helm('lint', '--strict', CHART, ...valuesOf(overlay))).toContain('0 chart(s) failed');
    }
  });

  test('[HC5] a change of the configuration or of a secret changes the pods', async () => {
    const podsWith = async (...args: string[]) => {
      const text = await helm('template', 'muster', CHART, ...args);
      return [...text.matchAll(/checksum\/configuration: (\w+)/g)].map(([, sum]) => sum);
    };
    const before = await podsWith();
    expect(before).toHaveLength(3);
    for (const change of ['config.LOG_LEVEL=debug', 'secrets.REDIS_URL=redis://elsewhere:6379']) {
      const after = await podsWith('--set', change);
      expect(after).toHaveLength(3);
      expect(after.filter((sum) => before.includes(sum))).toEqual([]);
    }
  });
});

/**
 * Objects by kind and name. Not compared: the hash in the name of a ConfigMap or Secret and the checksum of the chart, which
 * restart pods; the order of variables and volumes, because kustomize lists patched items first; the Namespace.
 */
const comparable = (documents: readonly Document[]): Record<string, Manifest> =>
  Object.fromEntries(
    documents
      .filter(({ manifest }) => manifest.kind !== 'Namespace')
      .map(({ manifest }) => JSON.parse(JSON.stringify(manifest).replaceAll(HASHED_NAME, '"$1"')) as Manifest)
      .map(normalized)
      .map((manifest) => [
        `${manifest.kind} ${manifest.metadata.name}`,
        { ...manifest, metadata: { namespace: 'muster', ...manifest.metadata } },
      ]),
  );

const HASHED_NAME = /"(muster|haproxy|postgres)-[a-z0-9]{10}"/g;

const normalized = (manifest: Manifest): Manifest => {
  const { template } = (manifest.spec ?? {}) as { template?: Template };
  if (template === undefined) return manifest;
  delete template.metadata.annotations;
  const { containers, volumes } = template.spec;
  for (const items of [volumes, ...containers.flatMap(({ env, volumeMounts }) => [env, volumeMounts])]) {
    items?.sort((a, b) => a.name.localeCompare(b.name));
  }
  return manifest;
};

interface Template {
  readonly metadata: { annotations?: Record<string, string> };
  readonly spec: {
    readonly volumes?: Named[];
    readonly containers: readonly { readonly env?: Named[]; readonly volumeMounts?: Named[] }[];
  };
}

interface Named {
  readonly name: string;
}
