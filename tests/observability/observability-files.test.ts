import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '@muster/local/programs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { alertNames } from './expressions.ts';

const run = promisify(execFile);
const DEPLOY = resolve(import.meta.dirname, '../../deploy');
const read = <T>(path: string): T => parse(readFileSync(join(DEPLOY, path), 'utf8')) as T;

interface AlertmanagerConfig {
  readonly route: Route;
  readonly receivers: readonly { readonly name: string }[];
  readonly inhibit_rules: readonly {
    readonly source_matchers: string[];
    readonly target_matchers: string[];
  }[];
}
interface Route {
  readonly receiver: string;
  readonly matchers?: readonly string[];
  readonly routes?: readonly Route[];
}

const ALERTMANAGER = 'alertmanager/alertmanager.yml';

test('[OBS6] every route of the Alertmanager example has a receiver, and inhibited alerts exist', () => {
  const { route, receivers, inhibit_rules } = read<AlertmanagerConfig>(ALERTMANAGER);
  const known = receivers.map(({ name }) => name);
  for (const { receiver } of [route, ...(route.routes ?? [])]) expect(known).toContain(receiver);
  const named = inhibit_rules
    .flatMap(({ source_matchers, target_matchers }) => [...source_matchers, ...target_matchers])
    .flatMap((matcher) => /^alertname=~?"([\w|]+)"$/.exec(matcher)?.[1]?.split('|') ?? [`cannot read ${matcher}`]);
  expect(named.filter((name) => !alertNames().includes(name))).toEqual([]);
});

test('[OBS6] the Alertmanager example passes amtool check-config', async ({ skip }) => {
  const amtool = findProgram(['amtool'], process.env['PATH'] ?? '');
  if (amtool === undefined) {
    process.stdout.write('observability tests: NOT RUN: no amtool on this machine (Debian: prometheus-alertmanager)\n');
    return skip();
  }
  const { stdout } = await run(amtool, ['check-config', join(DEPLOY, ALERTMANAGER)]);
  expect(stdout).toContain('SUCCESS');
});

test('[OBS14] the provisioning of Grafana has the data source and the directory of the dashboards', () => {
  const { datasources } = read<{ datasources: { type: string; url: string }[] }>(
    'grafana/provisioning/datasources/prometheus.yml',
  );
  expect(datasources).toMatchObject([{ type: 'prometheus', url: '$PROMETHEUS_URL' }]);
  const { providers } = read<{ providers: { type: string; options: { path: string } }[] }>(
    'grafana/provisioning/dashboards/muster.yml',
  );
  expect(providers).toMatchObject([{ type: 'file', options: { path: '$DASHBOARDS_DIR' } }]);
  const files = readdirSync(join(DEPLOY, 'grafana/dashboards'));
  expect(files.toSorted()).toEqual(['fleet.json', 'gateway.json', 'sessions.json', 'slo.json', 'stores.json']);
  expect(existsSync(join(DEPLOY, 'grafana/README.md'))).toBe(true);
});
