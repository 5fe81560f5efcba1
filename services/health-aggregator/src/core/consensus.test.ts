import { expect, test } from 'vitest';
import { createFleetState } from './fleet.ts';
import type { DependencyReading, ObservedHeartbeat } from './ports.ts';

const CHECK_INTERVALS = { normalMs: 2_000, fastMs: 500, downMs: 5_000 };

const fleetOf = (statuses: Readonly<Record<string, DependencyReading['status']>>) => {
  let now = 1_000_000;
  const clock = { now: () => now, monotonic: () => now };
  const fleet = createFleetState({
    clock,
    name: 'test',
    observer: { name: 'observer', version: '1', startedAt: now },
    expected: {},
    staleAfterMs: 15_000,
    checkIntervals: CHECK_INTERVALS,
  });
  const heartbeats = Object.entries(statuses).map(
    ([id, status], index): ObservedHeartbeat => ({
      ...{ id, name: id, service: id.startsWith('gw') ? 'ws-gateway' : 'session-service', version: '1' },
      ...{ address: `10.0.0.1:${index}`, opsAddress: `10.0.0.2:${index}`, startedAt: 0, load: {} },
      ...{ state: 'ready', beatAt: now, dependencies: { redis: { status } } },
    }),
  );
  fleet.recordRegistryRead({ now, heartbeats, ids: new Set(heartbeats.map(({ id }) => id)) });
  for (let round = 0; round < 2; round += 1) {
    for (const { id, dependencies } of heartbeats)
      fleet.recordProbe(id, { outcome: 'ok', durationMs: 1, dependencies });
    now += 500;
    fleet.tick();
  }
  return {
    query: (id: string, dependency = 'redis') => fleet.consensus(dependency, id),
    pass: (ms: number) => {
      now += ms;
    },
  };
};

test('[LF1] [LF4] given a fault, it is local when at least two other instances report and fewer than half of them share it', () => {
  const alone = fleetOf({ gw1: 'down', gw2: 'up', gw3: 'up', ss1: 'up' });
  expect(alone.query('gw1')).toMatchObject({ observers: 3, failing: 0, isLocal: true });
  expect(fleetOf({ gw1: 'down', gw2: 'down', ss1: 'up' }).query('gw1').isLocal).toBe(false);
  expect(fleetOf({ gw1: 'down', gw2: 'up' }).query('gw1').isLocal).toBe(false);
  expect(fleetOf({ gw1: 'down', gw2: 'up', ss1: 'unknown' }).query('gw1').observers).toBe(1);
  alone.pass(10_001);
  expect(alone.query('gw1')).toMatchObject({ observers: 0, isLocal: false });
});

test('[LF2] [LF5] [LF6] [LF7] given a known fault, an instance may leave, at most a quarter of a service, and never the last instance', () => {
  const statuses = { gw1: 'down', gw2: 'up', gw3: 'up', ss1: 'up' } as const;
  expect(fleetOf(statuses).query('gw1').quota).toEqual({ service: 'ws-gateway', most: 1 });
  expect(fleetOf(statuses).query('gw2').quota).toBeUndefined();
  expect(fleetOf(statuses).query('unknown').quota).toBeUndefined();
  expect(fleetOf(statuses).query('gw1', 'nothing-of-this-name')).toMatchObject({
    observers: 0,
    isLocal: false,
  });
  const last = fleetOf({ gw1: 'up', gw2: 'up', ss1: 'down' });
  expect(last.query('ss1')).toMatchObject({ isLocal: true, quota: undefined });
  const many = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`gw${index}`, 'up' as const]));
  expect(fleetOf({ ...many, gw0: 'down' }).query('gw0').quota?.most).toBe(2);
});
