import { expect, test } from 'vitest';
import type { FleetSnapshot } from './fleet-snapshot.ts';
import { createIncidentDetector } from './incidents.ts';
import type { DependencyAssessment, ServiceStatus } from './status.ts';

const snapshotOf = (status: ServiceStatus): FleetSnapshot => ({
  fleet: 'test',
  status,
  version: 1,
  asOf: '',
  ageMs: 0,
  frozen: false,
  leader: null,
  observer: { name: 'a', version: '1', startedAt: '' },
  dependencies: {},
  impact: [],
  services: [{ service: 'gateway', status, up: 0, total: 0, expected: 1, instances: [] }],
});

const setUp = () => {
  let serial = 0;
  let now = 1_000_000;
  const newId = () => `incident-${++serial}`;
  const detector = createIncidentDetector(newId, 5_000);
  const play = (status: ServiceStatus, ms: number, with_ = detector) => {
    const kinds: string[] = [];
    for (let passed = 0; passed < ms; passed += 1_000) {
      now += 1_000;
      for (const { kind, incident } of with_.observe(snapshotOf(status), now))
        kinds.push(`${kind} ${incident.severity}`);
    }
    return kinds;
  };
  return { detector, play, newId, now: () => now };
};

test('[IN1] [IN12] given an outage of 5 s or a degradation of 30 s, one incident is opened', () => {
  const { play } = setUp();
  expect(play('operational', 60_000)).toEqual([]);
  expect(play('partial_outage', 5_000)).toEqual([]);
  expect(play('partial_outage', 60_000)).toEqual(['opened partial_outage']);
  const other = setUp();
  expect(other.play('degraded', 30_000)).toEqual([]);
  expect(other.play('degraded', 2_000)).toEqual(['opened degraded']);
});

test('[IN13] given a failure below 5 s, no incident is opened; an unknown status opens and closes none', () => {
  const { play } = setUp();
  for (let round = 0; round < 10; round += 1) {
    expect(play('partial_outage', 3_000)).toEqual([]);
    expect(play('operational', 3_000)).toEqual([]);
  }
  expect(play('unknown', 600_000)).toEqual([]);
  play('major_outage', 10_000);
  expect(play('unknown', 600_000)).toEqual([]);
});

test('[IN2] [IN14] given an open incident, it keeps the worst severity and closes after 30 good seconds', () => {
  const { play } = setUp();
  play('partial_outage', 10_000);
  expect(play('major_outage', 10_000)).toEqual(['updated major_outage']);
  expect(play('partial_outage', 10_000)).toEqual(['updated major_outage']);
  expect(play('operational', 20_000)).toEqual([]);
  expect(play('partial_outage', 2_000)).toEqual([]);
  expect(play('operational', 30_000)).toEqual([]);
  expect(play('operational', 2_000)).toEqual(['closed major_outage']);
});

test('[IN3] given an open incident, a new leader continues it', () => {
  const { detector, play, newId, now } = setUp();
  play('partial_outage', 5_000);
  const [opened] = detector.observe(snapshotOf('partial_outage'), now() + 1_000);
  const next = createIncidentDetector(newId, 5_000);
  if (opened) next.adopt([opened.incident]);
  expect(play('partial_outage', 60_000, next)).toEqual([]);
  expect(play('operational', 32_000, next)).toEqual(['closed partial_outage']);
});

const outage = (redis: 'up' | 'down', gateway: ServiceStatus, why = 'dependency_redis'): FleetSnapshot => ({
  ...snapshotOf(gateway),
  dependencies: {
    redis: { status: redis, reporters: 1, failing: redis === 'up' ? 0 : 1, reasons: ['timeout'] },
  },
  services: [
    {
      ...{ service: 'gateway', status: gateway, up: 0, total: 1, expected: 1 },
      instances: [
        {
          ...{ id: 'g1', name: 'gateway-1', state: gateway === 'operational' ? 'up' : 'degraded', why },
          ...{ forMs: 0, version: '1', startedAt: '', beatAgeMs: 0, load: {} },
        },
      ],
    },
  ],
});

test('[IN7] [IN23] when a store is down, it has one incident from the first failed check, and its services have none', () => {
  const { detector } = setUp();
  const changes = [];
  for (let second = 0; second < 120; second += 1) {
    const isDown = second >= 20 && second < 80;
    const seen = isDown ? outage('down', 'degraded') : outage('up', 'operational');
    changes.push(...detector.observe(seen, second * 1_000));
  }
  expect(changes.map(({ kind, incident: { subject } }) => `${kind} ${subject}`)).toEqual([
    'opened redis',
    'closed redis',
  ]);
  expect(changes[1]?.incident).toMatchObject({
    openedAt: 20_000,
    closedAt: 80_000,
    severity: 'major_outage',
  });
  expect(changes[0]?.incident.updates[0]?.seen).toEqual(['timeout']);
});

test('[IN24] given a service that is degraded for another reason as well, it has an incident of its own', () => {
  const { detector } = setUp();
  const subjects = new Set<string>();
  for (let second = 0; second < 60; second += 1) {
    const [gateway, ...rest] = outage('down', 'degraded').services;
    const slow = { ...gateway?.instances[0], id: 'g2', name: 'gateway-2', why: 'loop_slow' };
    const services = [{ ...gateway, instances: [...(gateway?.instances ?? []), slow] }, ...rest];
    const seen = { ...outage('down', 'degraded'), services } as FleetSnapshot;
    for (const { incident } of detector.observe(seen, second * 1_000)) subjects.add(incident.subject);
  }
  expect([...subjects].sort()).toEqual(['gateway', 'redis']);
});

test('[IN8] given a failure at the first observation, its incident has isStartUnknown', () => {
  const { detector } = setUp();
  const opened = [];
  for (let second = 0; second < 10; second += 1)
    opened.push(...detector.observe(second < 3 ? snapshotOf('unknown') : snapshotOf('major_outage'), second * 1_000));
  expect(opened[0]?.incident.isStartUnknown).toBe(true);
  const other = setUp();
  other.play('operational', 5_000);
  const [seen] = [0, 1, 2, 3, 4, 5, 6].flatMap((second) =>
    other.detector.observe(snapshotOf('major_outage'), other.now() + second * 1_000),
  );
  expect(seen?.incident.isStartUnknown).toBeUndefined();
});

test('[IN10] [IN26] given a first failed and a first successful check before their observation, the incident has their times', () => {
  const { detector } = setUp();
  const changes = [];
  for (let second = 0; second < 120; second += 1) {
    const isDown = second >= 20 && second < 80;
    const { dependencies, ...rest } = outage(isDown ? 'down' : 'up', isDown ? 'degraded' : 'operational');
    const forMs = 3_000 + (second - (isDown ? 20 : 80)) * 1_000;
    const redis = { ...(dependencies['redis'] as DependencyAssessment), forMs };
    changes.push(...detector.observe({ ...rest, dependencies: { redis } }, second * 1_000));
  }
  expect(changes.map(({ kind, incident: { openedAt, closedAt } }) => [kind, openedAt, closedAt])).toEqual([
    ['opened', 17_000, undefined],
    ['closed', 17_000, 77_000],
  ]);
});

test('[IN10] [IN26] given a service, its incident starts with the first failed probe and ends with the first success of the last instance', () => {
  const { detector } = setUp();
  const changes = [];
  for (let second = 0; second < 120; second += 1) {
    const isDown = second >= 20 && second < 80;
    const status = isDown ? 'major_outage' : 'operational';
    const [gateway] = outage('up', status, 'refused').services;
    const evidenceForMs = 2_000 + (second - (isDown ? 20 : 80)) * 1_000;
    const state = isDown ? 'down' : 'up';
    const instances = (gateway?.instances ?? []).map((one) => ({ ...one, state, evidenceForMs }) as const);
    const seen = { ...snapshotOf(status), services: [{ ...gateway, instances }] } as FleetSnapshot;
    changes.push(...detector.observe(seen, second * 1_000));
  }
  expect(changes.map(({ kind, incident: { openedAt, closedAt } }) => [kind, openedAt, closedAt])).toEqual([
    ['opened', 18_000, undefined],
    ['closed', 18_000, 78_000],
  ]);
});

test('[IN25] given gateways that are degraded because the session service is down, they have no incident', () => {
  const { detector } = setUp();
  const subjects = new Set<string>();
  for (let second = 0; second < 60; second += 1) {
    const gateways = outage('up', 'degraded', 'dependency_session_service').services;
    const away = { service: 'session-service', up: 0, total: 0, expected: 1, instances: [] };
    const services = [...gateways, { ...away, status: 'major_outage' as const }];
    for (const { incident } of detector.observe({ ...snapshotOf('major_outage'), services }, second * 1_000))
      subjects.add(incident.subject);
  }
  expect([...subjects]).toEqual(['session-service']);
});
