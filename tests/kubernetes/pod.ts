import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { ChildOptions } from '@muster/local/child-process';
import { findHaproxy } from '@muster/local/haproxy';
import { type ClusterNetwork, loopbackOf } from './cluster-network.ts';
import type { KubernetesClient, KubernetesObject } from './kubernetes-client.ts';
import type { HttpProbe } from './probes.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** Images of this repository, with any registry. */
const OWN_IMAGE = /(?:^|\/)muster\/([a-z-]+):[^/]+$/;

interface KeyReference {
  readonly name: string;
  readonly key: string;
}
interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string };
    readonly secretKeyRef?: KeyReference;
    readonly configMapKeyRef?: KeyReference;
  };
}

/** Fields of a container that the test kubelet implements. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly Variable[];
  readonly envFrom?: readonly { readonly configMapRef?: { name: string }; readonly secretRef?: { name: string } }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: HttpProbe;
  readonly readinessProbe?: HttpProbe;
  readonly livenessProbe?: HttpProbe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Item {
  readonly key: string;
  readonly path: string;
}
interface VolumeSource {
  readonly secret?: { readonly secretName?: string; readonly name?: string; readonly items?: readonly Item[] };
  readonly configMap?: { readonly name: string; readonly items?: readonly Item[] };
  readonly serviceAccountToken?: { readonly path: string; readonly expirationSeconds?: number };
  readonly downwardAPI?: { readonly items: readonly { path: string; fieldRef: { fieldPath: string } }[] };
}
interface Volume extends VolumeSource {
  readonly name: string;
  readonly projected?: { readonly sources: readonly VolumeSource[] };
}

/** A pod. */
export interface Pod extends KubernetesObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly terminationGracePeriodSeconds?: number;
    readonly initContainers?: readonly Container[];
    readonly containers: readonly [Container];
    readonly serviceAccountName?: string;
    readonly volumes?: readonly Volume[];
  };
  readonly status?: { readonly phase?: string; readonly podIP?: string; readonly conditions?: readonly PodCondition[] };
}

interface PodCondition {
  readonly type: string;
  readonly status: string;
}

/** Address, files and cluster of a pod that runs. */
export interface PodEnvironment {
  readonly client: KubernetesClient;
  readonly network: ClusterNetwork;
  readonly address: string;
  readonly directory: string;
}

type Data = Readonly<Record<string, string>>;

/** Values of a Secret, decoded, or of a ConfigMap. */
const dataOf = async (client: KubernetesClient, kind: 'secrets' | 'configmaps', namespace: string, name: string) => {
  const { data = {} } = await client.get<{ data?: Data }>(`/api/v1/namespaces/${namespace}/${kind}/${name}`);
  if (kind === 'configmaps') return data;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
};

/** Writes the volumes of a pod below its directory. */
export const writeVolumes = async (pod: Pod, environment: PodEnvironment): Promise<void> => {
  for (const { name, projected, ...source } of pod.spec.volumes ?? []) {
    for (const each of projected?.sources ?? [source]) {
      for (const [path, content] of await filesOf(pod, each, environment)) {
        const file = join(environment.directory, name, path);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, content, { mode: 0o600 });
      }
    }
  }
};

/** Paths and contents of the files of a volume. */
const filesOf = async (pod: Pod, source: VolumeSource, environment: PodEnvironment): Promise<[string, string][]> => {
  const { client } = environment;
  const { namespace = '' } = pod.metadata;
  const { secret, configMap, serviceAccountToken: token, downwardAPI } = source;
  if (token !== undefined) {
    const account = `/api/v1/namespaces/${namespace}/serviceaccounts/${pod.spec.serviceAccountName ?? 'default'}`;
    const spec = { expirationSeconds: token.expirationSeconds };
    const { body } = await client.call<{ status: { token: string } }>('POST', `${account}/token`, { spec });
    return [[token.path, body.status.token]];
  }
  if (downwardAPI !== undefined) {
    const fields = fieldsOf(pod, environment);
    return downwardAPI.items.map(({ path, fieldRef }) => [path, fields[fieldRef.fieldPath] ?? '']);
  }
  const [kind, object] = secret
    ? (['secrets', secret.secretName ?? secret.name] as const)
    : (['configmaps', configMap?.name] as const);
  if (object === undefined) throw new Error(`the test kubelet does not have this volume: ${JSON.stringify(source)}`);
  const data = await dataOf(client, kind, namespace, object);
  const items = (secret ?? configMap)?.items ?? Object.keys(data).map((key) => ({ key, path: key }));
  return items.map(({ key, path }) => {
    const value = data[key];
    // The kubelet does not start such a pod either.
    if (value === undefined) throw new Error(`${object} has no key ${key}`);
    return [path, value];
  });
};

/** Fields of a pod that its variables and files refer to. */
const fieldsOf = ({ metadata, spec }: Pod, { address }: PodEnvironment): Data => ({
  'status.podIP': loopbackOf(address),
  'metadata.name': metadata.name,
  'metadata.namespace': metadata.namespace ?? '',
  'spec.nodeName': spec.nodeName ?? '',
});

/** Variables of a container: ConfigMaps and Secrets as a whole, then its own. */
const variablesOf = async (pod: Pod, container: Container, environment: PodEnvironment): Promise<Data> => {
  const { client } = environment;
  const { namespace = '', name } = pod.metadata;
  const values: Record<string, string> = {};
  for (const { configMapRef, secretRef } of container.envFrom ?? []) {
    if (configMapRef) Object.assign(values, await dataOf(client, 'configmaps', namespace, configMapRef.name));
    if (secretRef) Object.assign(values, await dataOf(client, 'secrets', namespace, secretRef.name));
  }
  const fields = fieldsOf(pod, environment);
  for (const { name: variable, value, valueFrom } of container.env ?? []) {
    const { fieldRef, secretKeyRef: secret, configMapKeyRef: map } = valueFrom ?? {};
    const referenced = secret
      ? (await dataOf(client, 'secrets', namespace, secret.name))[secret.key]
      : map
        ? (await dataOf(client, 'configmaps', namespace, map.name))[map.key]
        : fields[fieldRef?.fieldPath ?? ''];
    const text = value?.replaceAll(/\$\(([A-Z_]+)\)/g, (whole, other) => values[other] ?? whole) ?? referenced;
    if (text === undefined) throw new Error(`${name}: the variable ${variable} has no value`);
    values[variable] = text;
  }
  return values;
};

/** The process of a container: the program of its image, with its files and addresses on this machine. */
export const processOf = async (pod: Pod, container: Container, environment: PodEnvironment): Promise<ChildOptions> => {
  const { directory, network, address } = environment;
  const host = loopbackOf(address);
  const mounts = (container.volumeMounts ?? []).map(
    ({ name, mountPath }) => [mountPath, join(directory, name)] as const,
  );
  const variables = await variablesOf(pod, container, environment);
  const onThisMachine = (text: string): string => {
    const mount = mounts.find(([path]) => `${text}/`.startsWith(`${path}/`));
    const local = mount === undefined ? text : text.replace(mount[0], mount[1]);
    return network.resolved(local, pod.metadata.namespace ?? '');
  };
  const env = {
    PATH: process.env['PATH'],
    // Of the image; each pod has an address of its own.
    NODE_ENV: 'production',
    PORT: '8080',
    OPS_PORT: '9090',
    ...Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, onThisMachine(value)])),
    HOST: host,
  };
  const shared = { name: pod.metadata.name, env, logFile: join(directory, `${container.name}.log`), cwd: ROOT };
  const [, service] = OWN_IMAGE.exec(container.image) ?? [];
  if (service !== undefined) {
    const main = join(ROOT, 'services', service, 'src/main.ts');
    return { ...shared, command: process.execPath, args: [main, ...(container.args ?? [])] };
  }
  if (!container.image.startsWith('haproxy:'))
    throw new Error(`the test kubelet has no program for ${container.image}`);
  const [, configuration = ''] = mounts.find(([path]) => path.endsWith('/haproxy')) ?? [];
  const file = join(directory, 'haproxy.cfg');
  const config = readFileSync(join(configuration, 'haproxy.cfg'), 'utf8')
    .replaceAll(/^ {2}bind :/gm, `  bind ${host}:`)
    .replace('parse-resolv-conf', `nameserver cluster 127.0.0.1:${network.dnsPort}`);
  await writeFile(file, config);
  const { path } = await findHaproxy({ env: process.env, log: () => {} });
  return { ...shared, command: path, args: ['-db', '-f', file] };
};
