import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, startTiny } from './aggregator-fixture.ts';
import { findPrometheusProgram } from './prometheus-program.ts';

const stores = useTestStores();
const DIRECTORY = fileURLToPath(new URL('../../deploy/prometheus', import.meta.url));

/** Our own configuration, faster, and with the address of the aggregator under test. */
const startPrometheus = async (program: string, sdUrl: string) => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-prometheus-'));
  const [port = 0] = await freePorts(1);
  const config = readFileSync(join(DIRECTORY, 'prometheus.yml'), 'utf8')
    .replace('http://127.0.0.1:8300/sd/prometheus', sdUrl)
    .replaceAll(/- (rules[\w-]*\.yml)/g, (_, name: string) => `- ${join(DIRECTORY, name)}`)
    .replaceAll('15s', '1s')
    .replace('scrape_timeout: 5s', 'scrape_timeout: 1s');
  const path = join(directory, 'prometheus.yml');
  writeFileSync(path, config);
  const child = spawn(
    program,
    [
      `--config.file=${path}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
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
      child.kill('SIGTERM');
      await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

test('[MT4] a real Prometheus finds all, sees up = 0 after a kill, and forgets one that left', async ({
  skip,
}) => {
  const program = await findPrometheusProgram('prometheus');
  if (program === undefined) return skip();
  await using aggregator = await startAggregator(stores);
  await using killed = await startTiny(stores, { INSTANCE_NAME: 'tiny-killed' });
  await using leaving = await startTiny(stores, { INSTANCE_NAME: 'tiny-leaving' });
  await using prometheus = await startPrometheus(program, `${aggregator.url}/sd/prometheus`);
  const up = () => prometheus.query('up');
  await until(up, {
    what: 'all targets',
    ok: (seen) => Object.keys(seen).length === 3 && Object.values(seen).every((value) => value === '1'),
    timeoutMs: 30_000,
    intervalMs: 250,
  });
  expect(Object.keys(await up()).toSorted()).toEqual(['aggregator-test', 'tiny-killed', 'tiny-leaving']);
  // The label `service` is what the metric says, not the service of the aggregator that told it.
  const services = await prometheus.query('count by (instance) (fleet_instances{service="tiny"})');
  expect(services).toHaveProperty('aggregator-test');

  killed.kill('SIGKILL');
  leaving.kill('SIGTERM');
  await until(async () => (await up())['tiny-killed'] === '0', {
    what: 'up = 0',
    timeoutMs: 10_000,
    intervalMs: 250,
  });
  await until(async () => !('tiny-leaving' in (await up())), {
    what: 'the target to disappear',
    timeoutMs: 20_000,
    intervalMs: 250,
  });
  expect((await up())['tiny-killed']).toBe('0');
}, 90_000);
