import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, read } from './source-files.ts';
import { brokenStep, type WalkStep, walksOf } from './walks.ts';

const walks = walksOf(read('ARCHITECTURE.md'));

test('there are three walks', () => {
  expect(walks.size).toBe(3);
  for (const steps of walks.values()) expect(steps.length).toBeGreaterThan(6);
});

test.each([...walks])('every file of "%s" exists', (_, steps) => {
  const files = steps.flatMap(({ file, via }) => [file, ...via]);
  expect(files.filter((file) => file === '' || !existsSync(join(ROOT, file)))).toEqual([]);
});

test.each([...walks])('the imports allow every step of "%s"', (_, steps) => {
  const broken = steps.slice(1).flatMap((step, index) => brokenStep(steps[index] as WalkStep, step) ?? []);
  expect(broken).toEqual([]);
});

test('a step without an import or a Redis name is found', () => {
  const step = (file: string, more: Partial<WalkStep> = {}): WalkStep => ({
    file,
    via: [],
    redisName: undefined,
    ...more,
  });
  const heartbeat = step('packages/kit/src/fleet/heartbeat.ts');
  const wire = 'services/ws-gateway/src/socket/wire.ts';
  expect(brokenStep(heartbeat, step(wire))).toBeDefined();
  expect(brokenStep(heartbeat, step(wire, { redisName: 'fleet:{' }))).toBeDefined();
  expect(brokenStep(heartbeat, step('packages/kit/src/fleet/registry.ts'))).toBeUndefined();
});

test('the map of ARCHITECTURE.md names every workspace', () => {
  const map = read('ARCHITECTURE.md');
  const names = ['session-service', 'ws-gateway', 'health-aggregator'].map((name) => `services/${name}`);
  const packages = ['protocol', 'telemetry', 'kit', 'http', 'session', 'bus', 'client', 'cli', 'local', 'testkit'];
  const all = [...names, ...packages.map((name) => `packages/${name}`), 'deploy/fleet', 'deploy/observability'];
  expect(all.filter((name) => !map.includes(`\`${name}\``))).toEqual([]);
});
