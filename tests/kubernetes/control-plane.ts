import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePorts } from '@muster/local/ports';
import { foregroundServer, type ServerSpec } from '@muster/local/server-process';
import { openTestDirectory, type TestDirectory } from '@muster/testkit/test-directory';
import { createKubernetesClient, type KubernetesAccess, type KubernetesClient } from './kubernetes-client.ts';
import type { KubernetesPrograms } from './programs.ts';

const run = promisify(execFile);

const COMMAND_TIMEOUT_MS = 300_000;
const MOST_OUTPUT_BYTES = 32 * 1024 * 1024;
/** On a busy machine. */
const READY_TIMEOUT_MS = 120_000;

/** etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback. Disposing it stops them. */
export interface ControlPlane extends AsyncDisposable {
  readonly client: KubernetesClient;
  /** URL of kube-apiserver. */
  readonly server: string;
  /** Certificate and key of kube-apiserver, PEM. */
  readonly tls: { readonly cert: string; readonly key: string };
  /** Directory that is removed with it. */
  readonly home: TestDirectory;
  /** Output of kubectl with this cluster; rejects with its errors. */
  kubectl(...args: readonly string[]): Promise<string>;
  /** Output of helm. */
  helm(...args: readonly string[]): Promise<string>;
  logOf(program: string): string;
}

const kubeconfig = ({ server, token, certificate }: KubernetesAccess): string => {
  const name = 'test';
  const authority = Buffer.from(certificate).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    contexts: [{ name, context: { cluster: name, user: name } }],
    clusters: [{ name, cluster: { server, 'certificate-authority-data': authority } }],
    users: [{ name, user: { token } }],
  });
};

/** Starts the control plane. Cluster IPs are addresses of `serviceNetwork`. */
export const startControlPlane = async (
  programs: KubernetesPrograms,
  { serviceNetwork = '10.96.0.0/16' }: { serviceNetwork?: string } = {},
): Promise<ControlPlane> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await openTestDirectory());
  const at = (name: string): string => join(home.path, name);
  const [etcd = 0, peers = 0, api = 0, controllers = 0, scheduler = 0] = await freePorts(5);
  const server = `https://127.0.0.1:${api}`;
  const token = randomBytes(16).toString('hex');
  const env = { PATH: process.env['PATH'], HOME: home.path };
  const certificate = (): string => readFileSync(at('certificates/apiserver.crt'), 'utf8');

  const start = async (name: string, port: number, flags: Record<string, string>, isReady?: ServerSpec['isReady']) => {
    const spec = foregroundServer({
      name,
      program: { path: programs.kubernetes },
      args: [name, ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)],
      env,
      logFile: at(`${name}.log`),
      port,
      ...(isReady === undefined ? {} : { isReady }),
    });
    const child = await home.start({ ...spec, readyTimeoutMs: READY_TIMEOUT_MS });
    stack.defer(async () => void (await child.stop({ signal: 'SIGTERM', deadlineMs: 5_000 })));
  };

  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(at('accounts.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
  writeFileSync(at('tokens.csv'), `${token},administrator,administrator,"system:masters"\n`, { mode: 0o600 });
  await start('etcd', etcd, {
    'data-dir': at('etcd'),
    'listen-client-urls': `http://127.0.0.1:${etcd}`,
    'advertise-client-urls': `http://127.0.0.1:${etcd}`,
    'listen-peer-urls': `http://127.0.0.1:${peers}`,
    'initial-advertise-peer-urls': `http://127.0.0.1:${peers}`,
    'initial-cluster': `default=http://127.0.0.1:${peers}`,
    // Nothing here survives the test.
    'unsafe-no-fsync': 'true',
  });
  let client: KubernetesClient | undefined;
  stack.defer(async () => client?.[Symbol.asyncDispose]());
  await start(
    'kube-apiserver',
    api,
    {
      'etcd-servers': `http://127.0.0.1:${etcd}`,
      'bind-address': '127.0.0.1',
      'secure-port': String(api),
      'cert-dir': at('certificates'),
      'service-account-issuer': 'https://kubernetes.default.svc',
      'service-account-key-file': at('accounts.key'),
      'service-account-signing-key-file': at('accounts.key'),
      'authorization-mode': 'RBAC',
      'token-auth-file': at('tokens.csv'),
      'service-cluster-ip-range': serviceNetwork,
      // The Service `kubernetes` cannot have the loopback address of this server.
      'endpoint-reconciler-type': 'none',
    },
    async () => {
      if (!existsSync(at('certificates/apiserver.crt'))) return false;
      client ??= createKubernetesClient({ server, token, certificate: certificate() });
      return (await client.call('GET', '/readyz')).status === 200;
    },
  );
  writeFileSync(at('kubeconfig'), kubeconfig({ server, token, certificate: certificate() }), { mode: 0o600 });
  const shared = { kubeconfig: at('kubeconfig'), 'leader-elect': 'false', 'bind-address': '127.0.0.1' };
  await Promise.all([
    start('kube-controller-manager', controllers, {
      ...shared,
      'secure-port': String(controllers),
      'service-account-private-key-file': at('accounts.key'),
      // Published in every namespace, for service accounts.
      'root-ca-file': at('certificates/apiserver.crt'),
      'horizontal-pod-autoscaler-sync-period': '2s',
      'kube-api-qps': '200',
      'kube-api-burst': '400',
    }),
    start('kube-scheduler', scheduler, { ...shared, 'secure-port': String(scheduler) }),
  ]);
  const output = async (program: string, args: readonly string[]): Promise<string> => {
    const options = { env: { ...env, KUBECONFIG: at('kubeconfig') }, timeout: COMMAND_TIMEOUT_MS };
    return (await run(program, [...args], { ...options, maxBuffer: MOST_OUTPUT_BYTES })).stdout;
  };
  if (client === undefined) throw new Error('kube-apiserver is ready without a certificate');
  const owned = stack.move();
  return {
    client,
    server,
    tls: { cert: certificate(), key: readFileSync(at('certificates/apiserver.key'), 'utf8') },
    home,
    kubectl: (...args) => output(programs.kubernetes, ['kubectl', ...args]),
    helm: (...args) => output(programs.helm, args),
    logOf: (program) => readFileSync(at(`${program}.log`), 'utf8'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};
