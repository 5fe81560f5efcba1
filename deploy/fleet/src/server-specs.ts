import { existsSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  findHaproxy,
  haproxyServer,
  maxConnectionsFor,
  openFilesLimit,
  type ProxyUpstream,
  renderProxyConfig,
} from '@muster/local/haproxy';
import type { ServerSpec } from '@muster/local/server-process';
import {
  type LauncherEnvironment,
  type PlannedInstance,
  type ServiceKind,
  serviceEnvironment,
  urlOf,
} from './plan.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TEMPLATE = fileURLToPath(new URL('../../haproxy/haproxy.cfg.template', import.meta.url));
const PROBE_TIMEOUT_MS = 1_000;
/** The first beats of all replicas arrive within two or three seconds. */
const HEALTHY_WITHIN_MS = 8_000;
const HEALTH_POLL_MS = 100;
/** A service gets this long beyond its own drain deadline. */
const STOP_SLACK_MS = 2_000;

/**
 * A gateway's hot path makes next to no garbage: a small nursery takes a third to a half off the memory of
 * its idle connections.
 */
const NODE_OPTIONS: Partial<Record<ServiceKind, readonly string[]>> = {
  'ws-gateway': ['--max-semi-space-size=4'],
};

/** Where logs go, and what runs in the place of a service when a test says so. */
export interface ServiceDeps {
  readonly logDir: string;
  readonly entryPoints: Partial<Record<ServiceKind, string>>;
}

/** How one process of a service starts and ends. Its Node is ours: no PATH decides. */
export const serviceSpec = (
  instance: PlannedInstance,
  around: LauncherEnvironment,
  { logDir, entryPoints }: ServiceDeps,
): ServerSpec => {
  const env = serviceEnvironment(instance, around);
  const entry = entryPoints[instance.kind] ?? join(ROOT, 'services', instance.kind, 'src', 'main.ts');
  if (!existsSync(entry)) throw new Error(`${instance.kind} has no ${entry}`);
  return {
    child: {
      name: instance.name,
      command: process.execPath,
      args: [...(NODE_OPTIONS[instance.kind] ?? []), entry],
      env,
      logFile: join(logDir, `${instance.name}.log`),
      cwd: ROOT,
    },
    isReady: () => respondsOk(`${urlOf(instance)}/readyz`),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: Number(env['DRAIN_TIMEOUT_MS']) + STOP_SLACK_MS,
  };
};

/** The load balancer in front of all instances of the plan. */
export const proxySpec = async (
  around: LauncherEnvironment,
  { dataDir, logDir, say }: { dataDir: string; logDir: string; say: (line: string) => void },
): Promise<ServerSpec> => {
  const { plan, env } = around;
  const upstreams = (kind: ServiceKind): ProxyUpstream[] =>
    plan.instances
      .filter((one) => one.kind === kind)
      .map(({ name, port }) => ({ name, host: '127.0.0.1', port }));
  return haproxyServer({
    program: await findHaproxy({ env, say }),
    port: plan.publicPort,
    configFile: join(dataDir, 'haproxy.cfg'),
    config: renderProxyConfig(readFileSync(TEMPLATE, 'utf8'), {
      bind: `127.0.0.1:${plan.publicPort}`,
      maxConnections: maxConnectionsFor(openFilesLimit()),
      gateways: upstreams('ws-gateway'),
      sessionServices: upstreams('session-service'),
      aggregators: upstreams('health-aggregator'),
    }),
    logFile: join(logDir, 'haproxy.log'),
    env,
  });
};

/** Waits until the whole fleet calls itself healthy: every replica has been heard of. False when it takes too long. */
export const untilHealthy = async (url: string, signal?: AbortSignal): Promise<boolean> => {
  const deadline = performance.now() + HEALTHY_WITHIN_MS;
  while (!(await respondsOk(`${url}/health`))) {
    if (performance.now() > deadline || signal?.aborted) return false;
    await sleep(HEALTH_POLL_MS);
  }
  return true;
};

const respondsOk = (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    // No kept-alive connection: it would be one more thing for the service to close when it drains.
    const request = get(url, { agent: false, timeout: PROBE_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(false));
    request.once('close', () => resolve(false));
  });
