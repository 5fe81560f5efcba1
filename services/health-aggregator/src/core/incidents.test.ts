import { expect, test } from 'vitest';
import { createIncidentKeeper } from './incidents.ts';
import type { ServiceStatus } from './verdict.ts';
import type { FleetView } from './view.ts';

const view = (status: ServiceStatus): FleetView => ({
  fleet: 'test',
  status,
  version: 1,
  asOf: '',
  ageMs: 0,
  frozen: false,
  leader: null,
  observer: { name: 'a', version: '1', startedAt: '' },
  dependencies: {},
  services: [{ service: 'gateway', status, up: 0, total: 0, expected: 1, instances: [] }],
});

const setUp = () => {
  let serial = 0;
  let now = 1_000_000;
  const newId = () => `incident-${++serial}`;
  const keeper = createIncidentKeeper(newId, 5_000);
  const play = (status: ServiceStatus, ms: number, with_ = keeper) => {
    const kinds: string[] = [];
    for (let passed = 0; passed < ms; passed += 1_000) {
      now += 1_000;
      for (const { kind, incident } of with_.observe(view(status), now))
        kinds.push(`${kind} ${incident.severity}`);
    }
    return kinds;
  };
  return { keeper, play, newId, now: () => now };
};

test('[IN1] an outage of five seconds opens one incident, a degraded service one after thirty', () => {
  const { play } = setUp();
  expect(play('operational', 60_000)).toEqual([]);
  expect(play('partial_outage', 5_000)).toEqual([]);
  expect(play('partial_outage', 60_000)).toEqual(['opened partial_outage']);
  const other = setUp();
  expect(other.play('degraded', 30_000)).toEqual([]);
  expect(other.play('degraded', 2_000)).toEqual(['opened degraded']);
});

test('[IN1] a blip opens nothing, and what is unknown neither opens nor closes', () => {
  const { play } = setUp();
  for (let round = 0; round < 10; round += 1) {
    expect(play('partial_outage', 3_000)).toEqual([]);
    expect(play('operational', 3_000)).toEqual([]);
  }
  expect(play('unknown', 600_000)).toEqual([]);
  play('major_outage', 10_000);
  expect(play('unknown', 600_000)).toEqual([]);
});

test('[IN2] it keeps the worst severity, and closes after thirty good seconds', () => {
  const { play } = setUp();
  play('partial_outage', 10_000);
  expect(play('major_outage', 10_000)).toEqual(['updated major_outage']);
  expect(play('partial_outage', 10_000)).toEqual(['updated major_outage']);
  expect(play('operational', 20_000)).toEqual([]);
  expect(play('partial_outage', 2_000)).toEqual([]);
  expect(play('operational', 30_000)).toEqual([]);
  expect(play('operational', 2_000)).toEqual(['closed major_outage']);
});

test('[IN3] a new leader goes on with the incident that the old one opened', () => {
  const { keeper, play, newId, now } = setUp();
  play('partial_outage', 5_000);
  const [opened] = keeper.observe(view('partial_outage'), now() + 1_000);
  const next = createIncidentKeeper(newId, 5_000);
  if (opened) next.adopt([opened.incident]);
  expect(play('partial_outage', 60_000, next)).toEqual([]);
  expect(play('operational', 32_000, next)).toEqual(['closed partial_outage']);
});
