import { expect, test } from 'vitest';
import { capacityOf } from './capacity.ts';
import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';
import type { InstanceState } from './ports.ts';

const instance = (name: string, connections?: number, state: InstanceState = 'up'): InstanceSnapshot => ({
  id: name,
  name,
  state,
  why: 'ready',
  forMs: 0,
  version: '1',
  startedAt: '2026-01-01T00:00:00.000Z',
  beatAgeMs: 0,
  load: connections === undefined ? {} : { connections, connectionsLimit: 1_000 },
});
const snapshotOf = (
  instances: readonly InstanceSnapshot[],
  status: 'operational' | 'unknown' = 'operational',
): FleetSnapshot => ({
  fleet: 'test',
  status,
  version: 1,
  asOf: '2026-01-01T00:00:00.000Z',
  ageMs: 0,
  frozen: false,
  leader: null,
  observer: { name: 'a', version: '1', startedAt: '2026-01-01T00:00:00.000Z' },
  dependencies: {},
  impact: [],
  services: [{ service: 'ws-gateway', status, up: 1, total: instances.length, expected: 1, instances }],
});

test('[CP1] given instances in several states, capacity is counted over those that accept new connections', () => {
  const instances = [instance('a', 900), instance('b', 300), instance('c', 500, 'draining'), instance('d', 9, 'down')];
  expect(capacityOf(snapshotOf(instances))).toEqual({
    'ws-gateway': {
      used: 1_200,
      limit: 2_000,
      headroom: 800,
      utilisation: 0.6,
      imbalance: 1.5,
      advice: { replicas: 2 },
    },
  });
});

test('[CP3] given a utilisation above 70 %, another replica is advised; for an empty service one', () => {
  const advice = (...used: number[]) =>
    capacityOf(snapshotOf(used.map((count, index) => instance(`i${index}`, count))))['ws-gateway']?.advice.replicas;
  expect(advice(700, 700)).toBe(2);
  expect(advice(701, 700)).toBe(3);
  expect(advice(0, 0)).toBe(1);
});

test('[CP2] [CP5] given unknown or outdated load, it is left out, never zero', () => {
  expect(capacityOf(snapshotOf([instance('a', 10)], 'unknown'))).toEqual({});
  expect(capacityOf(snapshotOf([instance('a', 10, 'down')]))).toEqual({});
  expect(capacityOf(snapshotOf([instance('a')]))).toEqual({});
  expect(capacityOf(snapshotOf([{ ...instance('a', 10), beatAgeMs: 15_001 }]))).toEqual({});
});
