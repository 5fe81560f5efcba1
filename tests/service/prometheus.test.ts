import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { canInstall, findProgram, installPackage } from '@muster/local/programs';
import { migrate } from '@muster/session-service/store/migrate';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAggregator } from './aggregator-fixture.ts';
import { startGateway } from './gateway-fixture.ts';
import { RULE_CASES } from './prometheus-rules.ts';
import { startService } from './session-fixture.ts';

const run = promisify(execFile);
const stores = useTestStores({ migrate });
const file = (name: string): string =>
  fileURLToPath(new URL(`../../deploy/prometheus/${name}`, import.meta.url));
const RULES = file('rules.yml');
const alerts = [...readFileSync(RULES, 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? '');
const directory = mkdtempSync(join(tmpdir(), 'muster-prometheus-'));
let promtool: string | undefined;

beforeAll(async () => {
  const find = () => findProgram(['promtool'], process.env['PATH'] ?? '');
  const say = (line: string) => void process.stdout.write(`prometheus tests: ${line}\n`);
  promtool = find();
  if (promtool === undefined && canInstall()) {
    await installPackage('prometheus', { env: process.env, say });
    promtool = find();
  }
  if (promtool === undefined) {
    say(
      'NOT RUN: no promtool on this machine. Install the Debian package "prometheus", or put promtool on PATH.',
    );
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs promtool; rejects with what it said. */
const check = async (...args: string[]): Promise<string> => {
  const { stdout } = await run(promtool ?? 'promtool', args).catch(
    (error: { stdout?: string; stderr?: string }) => {
      throw new Error(`${error.stdout}\n${error.stderr}`);
    },
  );
  return stdout;
};

test('[MT1] the configuration and the rules are valid', async ({ skip }) => {
  if (promtool === undefined) skip();
  expect(await check('check', 'config', file('prometheus.yml'))).toContain('SUCCESS');
});

test('[MT2] every alert has a case that makes it fire and one that keeps it silent, and a runbook', () => {
  expect(RULE_CASES.map(({ alert }) => alert).toSorted()).toEqual(alerts.toSorted());
  const chapters = [...readFileSync(file('runbooks.md'), 'utf8').matchAll(/^## (\w+)$/gm)].map(
    ([, name]) => name,
  );
  expect(chapters.toSorted()).toEqual(alerts.toSorted());
  const runbooks = [...readFileSync(RULES, 'utf8').matchAll(/runbook: \S+#(\w+)/g)].map(([, name]) => name);
  expect(runbooks.toSorted()).toEqual(alerts.map((name) => name.toLowerCase()).toSorted());
});

test('[MT2] the alerts fire and stay silent as their cases say', async ({ skip }) => {
  if (promtool === undefined) skip();
  const query = (alert: string, at: string, value: number) => ({
    eval_time: at,
    expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`,
    exp_samples: [{ labels: '{}', value }],
  });
  const tests = RULE_CASES.flatMap(({ alert, at, firing, silent }) => [
    { name: `${alert} fires`, interval: '1m', input_series: firing, promql_expr_test: [query(alert, at, 1)] },
    ...(alert === 'Watchdog'
      ? []
      : [
          {
            name: `${alert} is silent`,
            interval: '1m',
            input_series: silent,
            promql_expr_test: [query(alert, at, 0)],
          },
        ]),
  ]);
  const path = join(directory, 'rules.test.json');
  // JSON is YAML.
  writeFileSync(path, JSON.stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }));
  expect(await check('test', 'rules', path)).toContain('SUCCESS');
}, 60_000);

test('[MT3] every metric that a rule reads is exposed, and what is exposed passes the linter', async ({
  skip,
}) => {
  await using sessions = await startService(stores);
  await using gateway = await startGateway(stores, sessions.opsUrl);
  await using aggregator = await startAggregator(stores, {
    SERVICE_API_KEYS: 'a-service-key-0123456789',
    EXPECTED: 'ws-gateway=1',
  });
  await fetch(`${sessions.url}/v1/session`);
  const texts = await Promise.all(
    [sessions, gateway, aggregator].map(async ({ opsUrl }) => (await fetch(`${opsUrl}/metrics`)).text()),
  );
  const exposed = new Set(
    texts
      .join('\n')
      .match(/^# TYPE \w+/gm)
      ?.map((line) => line.slice('# TYPE '.length)),
  );
  const expressions = readFileSync(RULES, 'utf8').replaceAll(/"[^"]*"/g, '""');
  const names =
    expressions.match(/\b(?:fleet|gateway|session|service|db_client|redis_client|http_server|nodejs)_\w+/g) ??
    [];
  const known = (name: string) =>
    exposed.has(name) ||
    exposed.has(name.replace(/_(bucket|count|sum)$/, '')) ||
    name.startsWith('session_errors');
  expect([...new Set(names)].filter((name) => !known(name))).toEqual([]);
  if (promtool === undefined) skip();
  for (const text of texts) {
    const path = join(directory, 'metrics.txt');
    writeFileSync(path, text);
    const { stdout, stderr } = await run('sh', ['-c', `"${promtool}" check metrics < "${path}" || true`]);
    const complaints = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line !== '' && !/^(nodejs|process)_/.test(line));
    expect(complaints).toEqual([]);
  }
}, 60_000);
