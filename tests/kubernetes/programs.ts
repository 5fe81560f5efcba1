import { type SpawnOptions, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir, setPriority, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { executable } from '@muster/local/programs';

const SOURCES = join(import.meta.dirname, 'programs');
/** Other programs of the machine have precedence over a build of ten minutes. */
const BUILD_PRIORITY = 10;

/** Programs of a cluster and its operators. */
export interface KubernetesPrograms {
  /** etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl; the first argument selects. */
  readonly kubernetes: string;
  readonly helm: string;
}

/** Modules that publish their CustomResourceDefinitions, their checksums, and the files that the manifests need. */
const CUSTOM_RESOURCES = [
  {
    module: 'sigs.k8s.io/gateway-api@v1.4.1',
    sum: 'h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=',
    files: ['gateways', 'httproutes'].map((name) => `config/crd/standard/gateway.networking.k8s.io_${name}.yaml`),
  },
  {
    module: 'github.com/kedacore/keda/v2@v2.18.1',
    sum: 'h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw=',
    files: ['config/crd/bases/keda.sh_scaledobjects.yaml'],
  },
  {
    module: 'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    sum: 'h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=',
    files: ['podmonitors', 'prometheusrules'].map(
      (name) => `example/prometheus-operator-crd/monitoring.coreos.com_${name}.yaml`,
    ),
  },
];

const log = (line: string): void => void process.stdout.write(`kubernetes: ${line}\n`);

const findGo = (): string | undefined => executable('go')(`${process.env['PATH']}:/usr/local/go/bin`)?.path;

/** The programs; those that the cache does not contain are built, which takes minutes. Undefined where Go is missing. */
export const kubernetesPrograms = async (): Promise<KubernetesPrograms | undefined> => {
  const go = findGo();
  if (go === undefined || process.platform !== 'linux') {
    log('SKIPPED: Linux and Go (https://go.dev/dl) are required, and nothing has been tested on a control plane');
    return undefined;
  }
  const directory = cacheDirectory();
  const flags = versionFlags();
  return {
    kubernetes: await built(go, join(directory, 'kubernetes'), '.', flags.kubernetes),
    helm: await built(go, join(directory, 'helm'), 'helm.sh/helm/v3/cmd/helm', flags.helm),
  };
};

/** In the cache of the user, so that every checkout with the same versions uses the same programs. */
const cacheDirectory = (): string => {
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(readFileSync(join(SOURCES, file)));
  const caches = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(caches, 'muster', `kubernetes-${hash.digest('hex').slice(0, 16)}`);
};

/** Linker flags with the version: kube-apiserver refuses to start without it, and helm compares charts with it. */
const versionFlags = (): { kubernetes: string[]; helm: string[] } => {
  const module = readFileSync(join(SOURCES, 'go.mod'), 'utf8');
  const [, version = '', major = '', minor = ''] = /k8s\.io\/kubernetes (v(\d+)\.(\d+)\.\d+)/.exec(module) ?? [];
  const flags = (name: string, values: Readonly<Record<string, string>>): string[] =>
    Object.entries(values).map(([variable, value]) => `-X ${name}.${variable}=${value}`);
  return {
    kubernetes: flags('k8s.io/component-base/version', { gitVersion: version, gitMajor: major, gitMinor: minor }),
    helm: flags('helm.sh/helm/v3/pkg/chartutil', { k8sVersionMajor: major, k8sVersionMinor: minor }),
  };
};

/** Path of the program; it is built first unless it exists. */
const built = async (go: string, path: string, source: string, flags: readonly string[]): Promise<string> => {
  if (existsSync(path)) return path;
  log(`building ${path} with Go, once; this takes minutes`);
  const startedAt = performance.now();
  mkdirSync(dirname(path), { recursive: true });
  // Another run may build as well: the file appears when it is complete.
  const unfinished = `${path}.${process.pid}`;
  const linking = ['-s', '-w', ...flags].join(' ');
  await output(go, ['build', '-buildvcs=false', '-ldflags', linking, '-o', unfinished, source], {
    cwd: SOURCES,
    env: { ...process.env, CGO_ENABLED: '0' },
  });
  renameSync(unfinished, path);
  log(`built in ${Math.round((performance.now() - startedAt) / 1000)} s`);
  return path;
};

/** Files with CustomResourceDefinitions; `missing` are the modules that cannot be downloaded. */
export const customResources = async (): Promise<{ files: string[]; missing: string[] }> => {
  const go = findGo() ?? 'go';
  const files: string[] = [];
  const missing: string[] = [];
  for (const { module, sum, files: names } of CUSTOM_RESOURCES) {
    try {
      // Outside of a module: the CustomResourceDefinitions are not a dependency of the programs.
      const text = await output(go, ['mod', 'download', '-json', module], { cwd: tmpdir() });
      const { Dir, Sum } = JSON.parse(text) as { Dir: string; Sum: string };
      if (Sum !== sum) throw new Error(`expected the checksum ${sum}, received ${Sum}`);
      files.push(...names.map((name) => join(Dir, name)));
    } catch (error) {
      log(`NOT TESTED: the custom resources of ${module}: ${(error as Error).message}`);
      missing.push(module);
    }
  }
  return { files, missing };
};

/** Output of a program that ran with low priority; rejects with its errors. */
const output = async (program: string, args: readonly string[], options: SpawnOptions): Promise<string> => {
  const child = spawn(program, [...args], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  if (child.pid !== undefined) setPriority(child.pid, BUILD_PRIORITY);
  let text = '';
  let errors = '';
  child.stdout?.on('data', (chunk) => (text += chunk));
  child.stderr?.on('data', (chunk) => (errors += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${program} ${args.slice(0, 2).join(' ')} failed: ${errors.slice(-2_000) || text}`);
  return text;
};
