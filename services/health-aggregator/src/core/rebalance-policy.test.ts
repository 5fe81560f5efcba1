import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';
import { RebalancePolicy, type RebalanceSettings, ROUND_MS } from './rebalance-policy.ts';

const SETTINGS: RebalanceSettings = {
  afterMs: 60_000,
  settleMs: 120_000,
  movesPerSecond: 100,
  cooldownMs: 3_600_000,
};

const gateway = (index: number, connections: number): InstanceSnapshot =>
  ({
    ...{ id: `id-${index}`, name: `gw-${index}`, state: 'up', beatAgeMs: 100 },
    load: { connections, connectionsLimit: 100_000 },
  }) as unknown as InstanceSnapshot;
const snapshotOf = (instances: readonly InstanceSnapshot[], over: object = {}): FleetSnapshot =>
  ({
    frozen: false,
    dependencies: { redis: { status: 'up' } },
    services: [{ service: 'ws-gateway', status: 'operational', instances }],
    ...over,
  }) as unknown as FleetSnapshot;
const fleetOf = (counts: readonly number[]) => snapshotOf(counts.map((count, index) => gateway(index, count)));

/** Assesses the same snapshot every second and returns the last assessment. */
const assessFor = (policy: RebalancePolicy, snapshot: FleetSnapshot, from: number, ms: number) => {
  let last = policy.assess(snapshot, from);
  for (let now = from + 1_000; now <= from + ms; now += 1_000) last = policy.assess(snapshot, now);
  return last;
};

test('[RX1] given gateways out of balance, when they have been for a minute and membership for two, then those above the mean move their excess', () => {
  const policy = new RebalancePolicy(SETTINGS);
  const fleet = fleetOf([2_000, 2_000, 2_000, 0, 0, 0]);
  expect(assessFor(policy, fleet, 0, 119_000)).toEqual({ state: 'waiting' });
  const { state, plan = [] } = policy.assess(fleet, 120_000);
  expect(state).toBe('moving');
  expect(plan.map(({ name, count }) => [name, count])).toEqual([
    ['gw-0', 167],
    ['gw-1', 167],
    ['gw-2', 167],
  ]);
  expect(plan.reduce((sum, { perSecond }) => sum + perSecond, 0)).toBeLessThanOrEqual(51);
});

test.each([
  ['an empty gateway among many', [...Array.from({ length: 20 }, () => 1_000), 0], true],
  ['a full gateway', [1_200, 1_000, 1_000, 1_000, 1_000], true],
  ['a small difference', [1_100, 1_000, 1_000], false],
  ['few clients', [9, 0, 0], false],
])('[RX1] given %s, when gateways are compared, then small differences do not count', (_, counts, isMoved) => {
  const { plan } = assessFor(new RebalancePolicy(SETTINGS), fleetOf(counts), 0, 120_000);
  expect(plan !== undefined).toBe(isMoved);
});

test.each([
  ['a frozen registry', { frozen: true }],
  ['Redis that is not up for all', { dependencies: { redis: { status: 'degraded' } } }],
  ['a service without evidence', { services: [{ service: 'ws-gateway', status: 'unknown', instances: [] }] }],
])('[RX3] given %s, when the fleet is assessed, then nothing is moved', (_, over) => {
  const policy = new RebalancePolicy(SETTINGS);
  const instances = [gateway(0, 5_000), gateway(1, 0)];
  assessFor(policy, snapshotOf(instances), 0, 179_000);
  expect(policy.assess(snapshotOf(instances, over), 180_000)).toEqual({ state: 'blocked' });
  expect(policy.assess(snapshotOf(instances), 181_000)).toEqual({ state: 'waiting' });
});

test.each([
  ['starts', { state: 'starting' }],
  ['drains', { state: 'draining' }],
  ['is suspect', { state: 'suspect' }],
  ['has an unknown load', { load: {} }],
  ['sends old heartbeats', { beatAgeMs: 16_000 }],
  ['is down and sends heartbeats', { state: 'down' }],
])('[RX3] given a gateway that %s, when the fleet is assessed, then nothing is moved', (_, over) => {
  const instances = [gateway(0, 5_000), gateway(1, 0), { ...gateway(2, 0), ...over } as InstanceSnapshot];
  expect(assessFor(new RebalancePolicy(SETTINGS), snapshotOf(instances), 0, 600_000)).toEqual({ state: 'blocked' });
});

test('[RX4] given a dead gateway, when the fleet is assessed, then it does not count', () => {
  const dead = { ...gateway(2, 5_000), state: 'down', beatAgeMs: 60_000 } as InstanceSnapshot;
  const { plan } = assessFor(
    new RebalancePolicy(SETTINGS),
    snapshotOf([gateway(0, 500), gateway(1, 0), dead]),
    0,
    120_000,
  );
  expect(plan).toEqual([{ id: 'id-0', name: 'gw-0', count: 250, perSecond: 25 }]);
});

/** A fleet behind a load balancer: `select` chooses the gateway of each moved client. */
const simulate = (counts: number[], select: (counts: readonly number[]) => number, settings = SETTINGS) => {
  const policy = new RebalancePolicy(settings);
  const rounds: number[] = [];
  let moves = 0;
  let now = 0;
  for (; now < 1_800_000; now += 1_000) {
    const { state, plan = [], isIneffective } = policy.assess(fleetOf(counts), now);
    if (isIneffective) return { rounds, moves, now, counts, state };
    if (plan.length > 0) rounds.push(now);
    for (const { name, count } of plan) {
      moves += count;
      for (let moved = 0; moved < count; moved += 1) {
        counts[Number(name.slice(3))]! -= 1;
        counts[select(counts)]! += 1;
      }
    }
    if (rounds.length > 0 && state === 'balanced') return { rounds, moves, now, counts, state };
  }
  return { rounds, moves, now, counts, state: 'moving' };
};
const leastConnections = (counts: readonly number[]): number => counts.indexOf(Math.min(...counts));

test('[RX2] given 12,000 clients, when three gateways become six, then they are even within five minutes and with the least number of moves', () => {
  const { rounds, moves, now, counts, state } = simulate([4_000, 4_000, 4_000, 0, 0, 0], leastConnections);
  expect(state).toBe('balanced');
  expect(now).toBeLessThan(240_000);
  expect(Math.max(...counts) / 2_000).toBeLessThanOrEqual(1.05);
  expect(moves).toBeLessThanOrEqual(6_000);
  for (const [index, at] of rounds.entries()) if (index > 0) expect(at - rounds[index - 1]!).toBe(ROUND_MS);
});

test('[RX2] given any distribution, when it is rebalanced, then it ends even, and the rate is never exceeded', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3_000 }), { minLength: 2, maxLength: 12 }), (start) => {
      const total = start.reduce((sum, count) => sum + count, 0);
      const { moves, counts, state, rounds } = simulate([...start], leastConnections);
      const mean = total / start.length;
      if (rounds.length === 0) return;
      expect(state).toBe('balanced');
      for (const count of counts) expect(Math.abs(count - mean)).toBeLessThanOrEqual(Math.max(11, mean * 0.1));
      expect(moves).toBeLessThanOrEqual(rounds.length * 1_000 + start.length);
    }),
    { numRuns: 50 },
  );
});

test('[RX5] given a load balancer that pins clients to their gateway, when two rounds have no effect, then nothing is moved for the cooldown', () => {
  const { rounds, state } = simulate([900, 0, 0], () => 0);
  expect([rounds.length, state]).toEqual([2, 'paused']);
  const policy = new RebalancePolicy(SETTINGS);
  const fleet = fleetOf([900, 0, 0]);
  const at: number[] = [];
  for (let now = 0; now < 4_000_000; now += 1_000) if (policy.assess(fleet, now).isIneffective) at.push(now);
  expect(at).toHaveLength(2);
  expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(SETTINGS.cooldownMs);
});
