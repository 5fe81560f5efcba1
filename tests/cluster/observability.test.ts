import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { alertNames, recordedSeries } from '../observability/expressions.ts';
import { findPrometheusProgram } from '../observability/prometheus-program.ts';

const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
let dataDir = '';

beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'muster-observability-'));
});
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

interface Answer<T> {
  readonly data: T;
}
const ask = async <T>(url: string): Promise<T> => ((await (await fetch(url)).json()) as Answer<T>).data;

test('[LA21] Prometheus with the rules of the repository discovers the fleet and ends with it', async ({ skip }) => {
  if ((await findPrometheusProgram('prometheus')) === undefined) return skip();
  const fleet = await startFleet({ env, dataDir, port: 0, basePort: 0, observability: true });
  const url = fleet.describe().prometheusUrl ?? '';
  try {
    const query = async (expression: string) =>
      (
        await ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
          `${url}/api/v1/query?query=${encodeURIComponent(expression)}`,
        )
      ).result;
    const up = await until(() => query('up == 1'), {
      what: 'all targets',
      ok: (seen) => seen.length === 4,
      timeoutMs: 45_000,
      intervalMs: 250,
    });
    expect(up.map(({ metric }) => `${metric['job']} ${metric['service']} ${metric['instance']}`).toSorted()).toEqual([
      'fleet health-aggregator health-aggregator-1',
      'fleet session-service session-service-1',
      'fleet ws-gateway ws-gateway-1',
      'fleet ws-gateway ws-gateway-2',
    ]);
    const { groups } = await ask<{
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    }>(`${url}/api/v1/rules`);
    const rules = groups.flatMap((group) => group.rules);
    const names = new Set(rules.map(({ name }) => name));
    expect([...alertNames(), ...recordedSeries().keys()].filter((name) => !names.has(name))).toEqual([]);
    await until(() => query('slo:budget:ratio'), {
      what: 'recorded series',
      ok: (seen) => seen.length > 3,
      timeoutMs: 30_000,
      intervalMs: 250,
    });
    expect(rules.filter(({ lastError }) => lastError)).toEqual([]);
  } finally {
    await fleet.stop();
  }
  await expect(fetch(url)).rejects.toThrow('fetch failed');
}, 180_000);

test('[LA22] without Prometheus the start is rejected with the alternatives, and nothing was started', async () => {
  const said: string[] = [];
  // An environment in which neither the program nor what could install it works.
  const poor = { ...env, PATH: '/nonexistent', LD_PRELOAD: '' };
  const startedAt = startFleet({
    env: poor,
    dataDir,
    port: 0,
    basePort: 0,
    observability: true,
    log: (line) => said.push(line),
  });
  await expect(startedAt).rejects.toThrow('docker compose --profile observability up');
  expect(said.filter((line) => line.includes('ready'))).toEqual([]);
}, 120_000);
