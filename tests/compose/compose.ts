import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { freePorts } from '@muster/local/ports';
import { until } from '@muster/testkit/wait';

const run = promisify(execFile);

const ROOT = resolve(import.meta.dirname, '../..');
/** Constant, so that a run removes the containers of a killed run. */
const PROJECT = 'muster-test';
const COMMAND_TIMEOUT_MS = 600_000;
const HEALTHY_WITHIN_MS = 90_000;
const MOST_OUTPUT_BYTES = 32 * 1024 * 1024;
const SHORT_ID = 12;

/** Fields of `docker inspect` that the tests read. */
export interface Inspected {
  readonly RestartCount: number;
  readonly State: { readonly Running: boolean; readonly ExitCode: number; readonly Pid: number };
  readonly Config: { readonly User: string };
  readonly HostConfig: { readonly ReadonlyRootfs: boolean };
}

/** The fleet of docker-compose.yml, running. Disposing it removes its containers, networks and volumes. */
export interface ComposeFleet extends AsyncDisposable {
  readonly publicUrl: string;
  /** URL of Prometheus; it responds once its profile is up. */
  readonly prometheusUrl: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
  /** `docker compose …` in this project; rejects with its output on failure. */
  compose(...args: readonly string[]): Promise<string>;
  docker(...args: readonly string[]): Promise<string>;
  /** A program of this repository, in the environment of this project; rejects with its output on failure. */
  script(path: string, ...args: readonly string[]): Promise<string>;
  /** Running containers of a service by short id, which is the host name. */
  containersOf(service: string): Promise<string[]>;
  /** Current value of a secret. */
  secret(name: string): Promise<string>;
  inspect(container: string): Promise<Inspected>;
  /** Waits until `/health` behind the load balancer reports a healthy fleet with this number of gateways. */
  untilHealthy(gateways?: number): Promise<void>;
}

/**
 * Builds the images, starts the fleet, and waits until it is healthy. `envFile` is a file of `deploy/docker` that selects
 * another form of Redis.
 */
export const startComposeFleet = async (
  log: (line: string) => void,
  { envFile }: { envFile?: string } = {},
): Promise<ComposeFleet> => {
  const [port = 0, prometheusPort = 0] = await freePorts(2);
  const publicUrl = `http://127.0.0.1:${port}`;
  const env = {
    ...process.env,
    COMPOSE_PROJECT_NAME: PROJECT,
    MUSTER_VERSION: 'test',
    MUSTER_PORT: String(port),
    PROMETHEUS_PORT: String(prometheusPort),
    PUBLIC_URL: publicUrl,
    ALLOWED_ORIGINS: publicUrl,
    BUILDKIT_PROGRESS: 'plain',
  };
  const options = { cwd: ROOT, env, timeout: COMMAND_TIMEOUT_MS, maxBuffer: MOST_OUTPUT_BYTES };
  const output = async (program: string, args: readonly string[]): Promise<string> =>
    (await run(program, [...args], options)).stdout.trim();
  const docker = (...args: readonly string[]) => output('docker', args);
  const form = envFile === undefined ? [] : ['--env-file', join(ROOT, 'deploy/docker', envFile)];
  const compose = (...args: readonly string[]) => docker('compose', ...form, ...args);
  const remove = () => docker('compose', '--profile', '*', 'down', '--volumes', '--remove-orphans', '--timeout', '5');
  const timed = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const startedAt = performance.now();
    await work();
    log(`${what}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  };
  const untilHealthy = async (gateways = 3): Promise<void> => {
    await until(async () => (await fetch(`${publicUrl}/health`)).json(), {
      ok: (health) => health.status === 'healthy' && health.checks['ws-gateway'].up === gateways,
      what: `a healthy fleet with ${gateways} gateways`,
      timeoutMs: HEALTHY_WITHIN_MS,
      intervalMs: 250,
    });
  };
  await remove();
  await timed('images are built', () => compose('build'));
  try {
    await timed('every container is healthy', () => compose('up', '--detach', '--wait', '--no-build'));
    await timed('the fleet calls itself healthy', untilHealthy);
    const secret = (name: string) => compose('run', '--rm', '--no-deps', '-T', 'secrets', 'show', name);
    return {
      publicUrl,
      prometheusUrl: `http://127.0.0.1:${prometheusPort}`,
      serviceApiKey: await secret('SERVICE_API_KEYS'),
      serverApiKey: await secret('SERVER_API_KEYS'),
      secret,
      compose,
      docker,
      script: (path, ...args) => output(join(ROOT, path), args),
      untilHealthy,
      containersOf: async (service) =>
        (await compose('ps', '--quiet', service))
          .split('\n')
          .filter((id) => id !== '')
          .map((id) => id.slice(0, SHORT_ID)),
      inspect: async (container) => (JSON.parse(await docker('inspect', container)) as [Inspected])[0],
      [Symbol.asyncDispose]: async () => void (await remove()),
    };
  } catch (error) {
    log(await compose('logs', '--tail', '40'));
    await remove();
    throw error;
  }
};
