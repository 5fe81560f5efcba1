import { readConfig as readAggregatorConfig } from '@muster/health-aggregator/config';
import { readConfig as readSessionConfig } from '@muster/session-service/config';
import { readConfig as readGatewayConfig } from '@muster/ws-gateway/config/index';
import { expect, test, vi } from 'vitest';
import { built, type Document, type Manifest } from './manifests/documents.ts';

// kubectl runs twice, which takes long on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

interface Container {
  readonly name: string;
  readonly env: readonly { readonly name: string; readonly value?: string }[];
}

const READERS: Readonly<Record<string, (env: Record<string, string>) => unknown>> = {
  'session-service': readSessionConfig,
  migrate: readSessionConfig,
  'ws-gateway': readGatewayConfig,
  'health-aggregator': readAggregatorConfig,
};
/** Values of the Secret that an operator creates. */
const SECRETS: Readonly<Record<string, string>> = {
  REDIS_URL: 'redis+sentinel://:f00dcafe@sentinel-0,sentinel-1,sentinel-2/muster',
  DATABASE_URL: 'postgres://muster:f00dcafe@pgbouncer:6432/muster',
  MIGRATION_DATABASE_URL: 'postgres://muster:f00dcafe@postgres-primary:5432/muster',
};
const RANDOM = 'f00dcafe0123456789abcdef0123456789abcdef';

const named = (documents: readonly Document[], kind: string, name: RegExp): Manifest | undefined =>
  documents.map(({ manifest }) => manifest).find((one) => one.kind === kind && name.test(one.metadata.name));

/** The content of the file that a `NAME_FILE` names: of the overlay's own Secret, or of an operator's. */
const secretAt = (documents: readonly Document[], path: string): string => {
  const key = path.split('/').at(-1) ?? '';
  const own = named(documents, 'Secret', /^muster-/)?.data?.[key];
  return own === undefined ? (SECRETS[key] ?? RANDOM) : Buffer.from(own, 'base64').toString('utf8');
};

const environmentOf = (documents: readonly Document[], { env }: Container): Record<string, string> => ({
  ...named(documents, 'ConfigMap', /^muster-/)?.data,
  ...Object.fromEntries(
    env.map(({ name, value = '10.0.0.1' }) =>
      name.endsWith('_FILE')
        ? [name.replace(/_FILE$/, ''), secretAt(documents, value)]
        : [name, value.replace('$(POD_IP)', '10.0.0.1')],
    ),
  ),
});

test('[KM7] every service of an overlay starts with what it is given', ({ skip }) => {
  for (const overlay of ['dev', 'ha']) {
    const documents = built(overlay);
    if (documents === undefined) return skip('kubectl is missing');
    const containers = documents
      .filter(({ manifest }) => manifest.kind === 'Deployment')
      .flatMap(({ manifest }) => {
        const { template } = manifest.spec as {
          template: { spec: { containers: Container[]; initContainers?: Container[] } };
        };
        return [...template.spec.containers, ...(template.spec.initContainers ?? [])];
      })
      .filter(({ name }) => name in READERS);
    expect(containers).toHaveLength(Object.keys(READERS).length);
    for (const container of containers) {
      expect(() => READERS[container.name]?.(environmentOf(documents, container))).not.toThrow();
    }
  }
});
