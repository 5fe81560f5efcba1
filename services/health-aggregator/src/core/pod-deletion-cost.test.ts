import { expect, test } from 'vitest';
import { setUpFleet } from './fleet-fixture.ts';
import { isOrderOutdated, podCosts } from './pod-deletion-cost.ts';

const costs = (...counts: number[]) => new Map(counts.map((count, index) => [`gw-${index}`, count]));
const load = (connections: number) => ({ load: { connections, connectionsLimit: 10_000 } });

test('[PD1] given gateways that serve, when their costs are computed, then each is the number of its connections', () => {
  const fixture = setUpFleet({ expected: { 'ws-gateway': 2 } });
  fixture.start('ws-gateway', 'gw-0', load(700));
  fixture.start('ws-gateway', 'gw-1', load(20));
  fixture.start('session-service', 'sessions-0', load(5));
  fixture.play(8_000);
  expect(podCosts(fixture.fleet.snapshot())).toEqual(costs(700, 20));
});

test('[PD3] given a gateway whose load is unknown, or a registry that is not readable, when costs are computed, then there are none', () => {
  const fixture = setUpFleet({ expected: { 'ws-gateway': 2 } });
  expect(podCosts(fixture.fleet.snapshot())).toBeUndefined();
  fixture.start('ws-gateway', 'gw-0', load(700));
  const silent = fixture.start('ws-gateway', 'gw-1');
  fixture.play(8_000);
  expect(podCosts(fixture.fleet.snapshot())).toBeUndefined();
  fixture.report(silent, load(3));
  fixture.play(4_000);
  expect(podCosts(fixture.fleet.snapshot())).toEqual(costs(700, 3));
  fixture.registry.readable = false;
  fixture.play(8_000);
  expect(podCosts(fixture.fleet.snapshot())).toBeUndefined();
});

test('[PD2] given written costs, when the order of the pods is the same but for a tenth, then it is not outdated', () => {
  expect(isOrderOutdated(new Map(), costs(1))).toBe(true);
  expect(isOrderOutdated(costs(100, 200), costs(100, 200, 5))).toBe(true);
  expect(isOrderOutdated(costs(100, 200), costs(900, 950))).toBe(false);
  expect(isOrderOutdated(costs(1_000, 1_001), costs(1_090, 1_000))).toBe(false);
  expect(isOrderOutdated(costs(1_000, 1_001), costs(1_200, 1_000))).toBe(true);
  // A pod that left changes nothing.
  expect(isOrderOutdated(costs(3, 2, 1), costs(3, 2))).toBe(false);
});
