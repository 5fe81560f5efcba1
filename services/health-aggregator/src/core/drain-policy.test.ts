import { expect, test } from 'vitest';
import { mayDrain } from './drain-policy.ts';
import type { ServiceSnapshot } from './fleet-snapshot.ts';
import type { InstanceState } from './ports.ts';

const service = (expected: number, states: readonly InstanceState[]): ServiceSnapshot => ({
  service: 'gateway',
  status: 'operational',
  up: 0,
  total: states.length,
  expected,
  instances: states.map((state, index) => ({
    id: `${index}`,
    name: `g${index}`,
    state,
    why: '',
    forMs: 0,
    version: '1',
    startedAt: '',
    beatAgeMs: 0,
    load: {},
  })),
});

test('[DV2] given two instances, the first may be drained, the last serving instance may not', () => {
  expect(mayDrain(service(2, ['up', 'up']), 'g0').ok).toBe(true);
  expect(mayDrain(service(2, ['up', 'down']), 'g0')).toEqual({
    ok: false,
    why: 'No other instance of this service is serving.',
  });
  expect(mayDrain(service(1, ['up']), 'g0').ok).toBe(false);
});

test('[DV7] given a drain, half of the expected instances stay', () => {
  expect(mayDrain(service(4, ['up', 'up', 'up', 'draining']), 'g0').ok).toBe(true);
  expect(mayDrain(service(5, ['up', 'up', 'up', 'draining', 'draining']), 'g0')).toMatchObject({
    ok: false,
    why: 'Only 2 of 5 expected instances would be left serving.',
  });
});
