import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { prometheusServer, renderPrometheusConfig } from '@muster/local/prometheus';
import { startServer } from '@muster/local/server-process';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, startTiny } from '../aggregator/fixture.ts';
import { findPrometheusProgram } from './prometheus-program.ts';

const stores = useTestStores();
const DIRECTORY = fileURLToPath(new URL('../../deploy/prometheus', import.meta.url));

/** Prometheus with the committed configuration and rules, shorter intervals, and the aggregator under test. */
const startPrometheus = async (path: string, sdUrl: string) => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-prometheus-'));
  const [port = 0] = await freePorts(1);
  for (const name of ['rules.yml', 'rules-slo.yml']) {
    const rules = readFileSync(join(DIRECTORY, name), 'utf8');
    writeFileSync(join(directory, name), rules.replaceAll(/^( +)for: \S+$/gm, '$1for: 1s'));
  }
  const config = renderPrometheusConfig(readFileSync(join(DIRECTORY, 'prometheus.yml'), 'utf8'), {
    discovery: [sdUrl],
    rulesDir: directory,
    intervalS: 1,
  });
  const server = await startServer({
    ...prometheusServer({
      ...{ program: { path }, port, config, retention: '1d', env: process.env },
      dataDir: join(directory, 'data'),
      configFile: join(directory, 'prometheus.yml'),
      logFile: join(directory, 'log'),
    }),
    readyTimeoutMs: 60_000,
  });
  return {
    /** Values of an instant query by the label `instance`. */
    query: async (expression: string): Promise<Record<string, string>> => {
      const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`;
      const { data } = (await (await fetch(url)).json()) as {
        data: { result: { metric: Record<string, string>; value: [number, string] }[] };
      };
      return Object.fromEntries(data.result.map(({ metric, value }) => [metric['instance'] ?? '', value[1]]));
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop({ signal: 'SIGTERM', deadlineMs: 10_000 });
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

test('[MT4] [MT6] [MT7] Prometheus discovers all instances, reports up = 0 after a kill, and drops an instance that left', async ({
  skip,
}) => {
  const program = await findPrometheusProgram('prometheus');
  if (program === undefined) return skip();
  await using aggregator = await startAggregator(stores);
  await using killed = await startTiny(stores, { INSTANCE_NAME: 'tiny-killed' });
  await using leaving = await startTiny(stores, { INSTANCE_NAME: 'tiny-leaving' });
  await using prometheus = await startPrometheus(program, aggregator.url);
  const up = () => prometheus.query('up');
  await until(up, {
    what: 'all targets',
    ok: (values) => Object.keys(values).length === 3 && Object.values(values).every((value) => value === '1'),
    timeoutMs: 60_000,
    intervalMs: 250,
  });
  expect(Object.keys(await up()).toSorted()).toEqual(['aggregator-test', 'tiny-killed', 'tiny-leaving']);
  // honor_labels: the label `service` is that of the metric, not that of the scraped aggregator.
  const services = await prometheus.query('count by (instance) (fleet_instances{service="tiny"})');
  expect(services).toHaveProperty('aggregator-test');

  killed.kill('SIGKILL');
  leaving.kill('SIGTERM');
  await until(async () => (await up())['tiny-killed'] === '0', {
    what: 'up = 0',
    timeoutMs: 60_000,
    intervalMs: 250,
  });
  await until(async () => !('tiny-leaving' in (await up())), {
    what: 'the target to disappear',
    timeoutMs: 60_000,
    intervalMs: 250,
  });
  expect((await up())['tiny-killed']).toBe('0');
  // With `for: 1s` the alert fires for both instances; it resolves for the instance that is no longer listed.
  await until(() => prometheus.query('ALERTS{alertname="FleetTargetDown",alertstate="firing"}'), {
    what: 'the alert',
    ok: (values) => Object.keys(values).join() === 'tiny-killed',
    timeoutMs: 60_000,
    intervalMs: 250,
  });
}, 240_000);
