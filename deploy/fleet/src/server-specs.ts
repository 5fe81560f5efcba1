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
import type { Program } from '@muster/local/programs';
import { prometheusServer, renderPrometheusConfig } from '@muster/local/prometheus';
import type { ServerSpec } from '@muster/local/server-process';
import {
  instancesOf,
  type LauncherEnvironment,
  opsUrlOf,
  type PlannedInstance,
  type ServiceKind,
  serviceEnvironment,
  urlOf,
} from './plan.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TEMPLATE = fileURLToPath(new URL('../../haproxy/haproxy.cfg.template', import.meta.url));
const RULES = fileURLToPath(new URL('../../prometheus', import.meta.url));
/** Short, for a single developer's machine. */
const SCRAPE_INTERVAL_S = 5;
const RETENTION = '15d';
const PROBE_TIMEOUT_MS = 1_000;
/** The first heartbeats of all replicas arrive within two or three seconds. */
const HEALTHY_WITHIN_MS = 8_000;
const HEALTH_POLL_MS = 100;
/** Time to stop beyond the drain deadline of the service. */
const STOP_SLACK_MS = 2_000;

/**
 * Semi-space: 4 MB spend a quarter of the CPU of publications on garbage, 32 MB take 3 KB more per idle connection; 16 MB do neither.
 * Sparkplug: functions are compiled at their first call, because a gateway is busiest with handshakes when it has just started.
 */
const NODE_OPTIONS: Partial<Record<ServiceKind, readonly string[]>> = {
  'ws-gateway': ['--max-semi-space-size=16', '--always-sparkplug'],
};

/**
 * Server spec of an instance; `entryPoints` replace services in tests. It runs with the Node of the launcher, not with
 * that of `PATH`.
 */
export const serviceSpec = (
  instance: PlannedInstance,
  environment: LauncherEnvironment,
  { logDir, entryPoints }: { logDir: string; entryPoints: Partial<Record<ServiceKind, string>> },
): ServerSpec => {
  const env = serviceEnvironment(instance, environment);
  const entry = entryPoints[instance.kind] ?? join(ROOT, 'services', instance.kind, 'src', 'main.ts');
  if (!existsSync(entry)) throw new Error(`${instance.kind}: the entry point ${entry} does not exist`);
  return {
    child: {
      name: instance.name,
      command: process.execPath,
      args: [...(NODE_OPTIONS[instance.kind] ?? []), entry],
      env,
      logFile: join(logDir, `${instance.name}.log`),
      cwd: ROOT,
    },
    isReady: () => respondsOk(`${instance.sharesPort ? opsUrlOf(instance) : urlOf(instance)}/readyz`),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: Number(env['DRAIN_TIMEOUT_MS']) + STOP_SLACK_MS,
  };
};

/** Server spec of the load balancer for all instances of the plan. */
export const proxySpec = async (
  environment: LauncherEnvironment,
  { dataDir, logDir, log }: { dataDir: string; logDir: string; log: (line: string) => void },
): Promise<ServerSpec> => {
  const { plan, env } = environment;
  // A shared port is one server: the kernel distributes its connections.
  const upstreams = (kind: ServiceKind): ProxyUpstream[] =>
    instancesOf(plan, kind)
      .filter(({ sharesPort }, index) => index === 0 || !sharesPort)
      .map(({ name, port }) => ({ name, host: '127.0.0.1', port }));
  return haproxyServer({
    program: await findHaproxy({ env, log }),
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

/** Server spec of Prometheus with the rules of the repository; it discovers the fleet through the aggregators. */
export const prometheusSpec = (
  environment: LauncherEnvironment,
  { program, port, dataDir, logDir }: { program: Program; port: number; dataDir: string; logDir: string },
): ServerSpec =>
  prometheusServer({
    program,
    port,
    dataDir: join(dataDir, 'prometheus'),
    configFile: join(dataDir, 'prometheus.yml'),
    config: renderPrometheusConfig(readFileSync(join(RULES, 'prometheus.yml'), 'utf8'), {
      discovery: instancesOf(environment.plan, 'health-aggregator').map(urlOf),
      rulesDir: RULES,
      intervalS: SCRAPE_INTERVAL_S,
    }),
    retention: RETENTION,
    logFile: join(logDir, 'prometheus.log'),
    env: environment.env,
  });

/** Waits until `/health` of the fleet is 200. Resolves with false after 8 s. */
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
    // Without keep-alive: the service would have to close the connection when it drains.
    const request = get(url, { agent: false, timeout: PROBE_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(false));
    request.once('close', () => resolve(false));
  });
