import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { settings as aggregatorSettings, readConfig as readAggregatorConfig } from '@muster/health-aggregator/config';
import { renderProxyConfig } from '@muster/local/haproxy';
import { containerProxyPlan } from '@muster/local/haproxy-container-plan';
import { readConfig as readSessionConfig, settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings, readConfig as readGatewayConfig } from '@muster/ws-gateway/config/index';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT, read } from './source-files.ts';

interface Service {
  readonly pids_limit?: number;
  readonly mem_limit?: string;
  readonly ulimits?: object;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly stop_grace_period?: string;
  readonly depends_on?: Readonly<Record<string, object>> | readonly string[];
}

const OURS = {
  'session-service': { settings: sessionSettings, readConfig: readSessionConfig },
  'ws-gateway': { settings: gatewaySettings, readConfig: readGatewayConfig },
  'health-aggregator': { settings: aggregatorSettings, readConfig: readAggregatorConfig },
};
/** At least this much longer than the drain is the time that the engine gives. */
const GRACE_TO_SPARE_MS = 10_000;

const text = read('docker-compose.yml');
const file = parse(text, { merge: true }) as { services: Readonly<Record<string, Service>> };
const serviceOf = (name: string): Service => file.services[name] ?? {};

/** The default of a variable. */
const byDefault = (value: string): string => value.replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1');

/** The environment of a service; secrets are what a generator would make. */
const environmentOf = (name: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(serviceOf(name).environment ?? {}).map(([variable, value]) =>
      variable === 'DATABASE_URL_FILE'
        ? ['DATABASE_URL', 'postgres://muster:0123456789@postgres:5432/muster']
        : variable.endsWith('_FILE')
          ? [variable.replace(/_FILE$/, ''), 'f00dcafe0123456789abcdef0123456789abcdef']
          : [variable, byDefault(String(value))],
    ),
  );

test('[FC10] the load balancer of containers has the rules of the template (vitest -u writes it anew)', async () => {
  const rendered = renderProxyConfig(read('deploy/haproxy/haproxy.cfg.template'), containerProxyPlan());
  await expect(rendered).toMatchFileSnapshot(join(ROOT, 'deploy/haproxy/haproxy.containers.cfg'));
});

test('[LB10] the load balancer waits longer than a gateway before it cuts a silent socket', () => {
  const { pingIntervalMs, pongTimeoutMs, plainSilenceMs, plainSweepMs } = readGatewayConfig(
    environmentOf('ws-gateway'),
  );
  const [, seconds = '0'] = /^ {2}timeout tunnel (\d+)s$/m.exec(read('deploy/haproxy/haproxy.cfg.template')) ?? [];
  const longestMs = Math.max(pingIntervalMs + pongTimeoutMs, plainSilenceMs + plainSweepMs);
  expect(Number(seconds) * 1_000).toBeGreaterThan(longestMs);
});

test('[FC11] every variable of docker-compose.yml has a default there', () => {
  const variables = [...text.matchAll(/\$\{([^}]*)\}/g)].map((match) => match[1] ?? '');
  expect(variables.length).toBeGreaterThan(20);
  expect(variables.filter((variable) => !/^[A-Z_]+:-/.test(variable))).toEqual([]);
});

test.each(Object.entries(OURS))(
  '[FC11] given the variables of %s, when it is checked, then the service accepts them and the defaults',
  (name, one) => {
    const environment = environmentOf(name);
    expect(Object.keys(environment).length).toBeGreaterThan(5);
    const unknown = Object.keys(environment).filter((variable) => !(variable in one.settings.shape));
    expect(unknown.filter((variable) => variable !== 'NODE_OPTIONS')).toEqual([]);
    expect(() => one.readConfig(environment)).not.toThrow();
  },
);

test('[FC11] the schema is migrated by exactly the environment of the session service', () => {
  expect(serviceOf('migrate').environment).toEqual(serviceOf('session-service').environment);
});

test('[FC11] what docker-compose.yml mounts and names is there', () => {
  const mounts = Object.values(file.services)
    .flatMap(({ volumes = [] }) => volumes)
    .filter((volume) => volume.startsWith('./'))
    .map((volume) => volume.split(':')[0] ?? '');
  expect(mounts.length).toBeGreaterThan(1);
  expect(mounts.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  const needed = Object.values(file.services).flatMap(({ depends_on: names = [] }) =>
    Array.isArray(names) ? names : Object.keys(names),
  );
  expect(needed.filter((name) => !(name in file.services))).toEqual([]);
});

test('[FC18] every container has limits, and demands none that the engine may refuse', () => {
  const limits = Object.entries(file.services).map(([name, one]) => ({
    name,
    memory: /^\d+[mg]$/.test(byDefault(one.mem_limit ?? '')),
    pids: one.pids_limit,
    ulimits: one.ulimits,
  }));
  expect(limits.length).toBeGreaterThan(15);
  expect(limits).toEqual(limits.map(({ name }) => ({ name, memory: true, pids: 512, ulimits: undefined })));
});

test('[FC18] gateways and session services trust the networks of proxies', () => {
  const trusted = ['ws-gateway', 'session-service'].map((name) => environmentOf(name)['TRUSTED_PROXIES']);
  expect(trusted[0]).toBe(trusted[1]);
  expect(trusted[0]?.split(',')).toEqual(expect.arrayContaining(['10.0.0.0/8', '172.16.0.0/12', '100.64.0.0/10']));
});

test('[LB12] the load balancer names the service that it expects at an address', () => {
  const checks = [...read('deploy/haproxy/haproxy.cfg.template').matchAll(/http-check send .* uri (\S+) /g)];
  expect(checks.map(([, uri]) => uri)).toEqual(
    ['ws-gateway', 'session-service', 'health-aggregator'].map((name) => `/readyz?service=${name}`),
  );
});

test.each(Object.keys(OURS))('[FC9] %s has more time to end than its drain takes', (name) => {
  const { stop_grace_period: grace = '' } = serviceOf(name);
  const drainMs = Number(environmentOf(name)['DRAIN_TIMEOUT_MS']);
  expect(Number(/^(\d+)s$/.exec(grace)?.[1]) * 1000).toBeGreaterThanOrEqual(drainMs + GRACE_TO_SPARE_MS);
});
