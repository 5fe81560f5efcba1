import { expect, test } from 'vitest';
import type { FleetSnapshot } from './fleet-snapshot.ts';
import type { ServiceStatus } from './status.ts';
import {
  addIncrements,
  availabilityOf,
  expiredFields,
  StatusTimeline,
  uptimeDaysOf,
  worstStatusOf,
} from './uptime-history.ts';

const NOON = Date.UTC(2026, 5, 15, 12);
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
  services: [{ service: 'gateway', status, up: 1, total: 1, expected: 1, instances: [] }],
});

const play = (timeline: StatusTimeline, from: number, seconds: number, status: ServiceStatus): number => {
  for (let second = 1; second <= seconds; second += 1) timeline.add(snapshotOf(status), from + second * 1_000);
  return from + seconds * 1_000;
};

test('[HY1] given an observed period, its seconds are added to their status, the same in every division of the period', () => {
  const timeline = new StatusTimeline();
  timeline.add(snapshotOf('operational'), NOON);
  const broken = play(timeline, NOON, 139, 'operational');
  const end = play(timeline, broken, 140, 'major_outage');
  const all = new Map([
    ['2026-06-15:operational', 139],
    ['2026-06-15:major_outage', 140],
  ]);
  expect(timeline.countSeconds({ from: NOON, to: end })).toEqual({
    increments: new Map([
      ['fleet', all],
      ['gateway', all],
    ]),
    gaps: [],
  });
  const parts = [NOON, NOON + 7_000, broken - 3_000, broken + 50_000, end].reduce<Record<string, number>>(
    (sum, to, index, times) => {
      const from = times[index - 1] ?? to;
      for (const [field, seconds] of timeline.countSeconds({ from, to }).increments.get('fleet') ?? [])
        sum[field] = (sum[field] ?? 0) + seconds;
      return sum;
    },
    {},
  );
  expect(parts).toEqual(Object.fromEntries(all));
});

test('[HY6] given a period that was not observed, it is a gap that another observer fills', () => {
  const timeline = new StatusTimeline();
  timeline.add(snapshotOf('operational'), NOON);
  const left = play(timeline, NOON, 10, 'operational');
  const back = left + 60_000;
  timeline.add(snapshotOf('operational'), back);
  const end = play(timeline, back, 5, 'operational');
  const { increments, gaps } = timeline.countSeconds({ from: NOON - 5_000, to: end });
  expect(increments.get('fleet')).toEqual(new Map([['2026-06-15:operational', 15]]));
  expect(gaps).toEqual([
    { from: NOON - 5_000, to: NOON },
    { from: left, to: back },
  ]);
  const other = new StatusTimeline();
  other.add(snapshotOf('major_outage'), left - 1_000);
  play(other, left - 1_000, 31, 'major_outage');
  expect(other.countSeconds({ from: left, to: back })).toEqual({
    increments: new Map(['fleet', 'gateway'].map((subject) => [subject, new Map([['2026-06-15:major_outage', 30]])])),
    gaps: [{ from: left + 30_000, to: back }],
  });
});

test('[HY5] [HY10] [HY11] given an outage of a store, it has a history and counts against the fleet, not against a service that serves', () => {
  const timeline = new StatusTimeline();
  const redis = { status: 'down', reporters: 2, failing: 2 } as const;
  const down: FleetSnapshot = { ...snapshotOf('partial_outage'), dependencies: { redis } };
  timeline.add(down, NOON);
  timeline.add(down, NOON + 4_000);
  const { increments } = timeline.countSeconds({ from: NOON, to: NOON + 4_000 });
  expect(increments.get('redis')).toEqual(new Map([['2026-06-15:major_outage', 4]]));
  expect(availabilityOf([{ date: '', seconds: { operational: 96, partial_outage: 4 } }], 'fleet')).toBe(0.96);
  expect(availabilityOf([{ date: '', seconds: { operational: 96, partial_outage: 4 } }], 'gateway')).toBe(1);
  expect(addIncrements([{ date: '2026-06-15', seconds: { operational: 5 } }], increments.get('redis'))).toEqual([
    { date: '2026-06-15', seconds: { operational: 5, major_outage: 4 } },
  ]);
});

test('[HY2] [HY7] given history, 90 days are returned, empty days too, and older days are deleted', () => {
  const fields = {
    '2026-06-15:operational': '3600',
    '2026-06-14:major_outage': '120',
    '2020-01-01:degraded': '5',
  };
  const days = uptimeDaysOf(fields, NOON);
  expect(days).toHaveLength(90);
  expect(days.at(-1)).toEqual({ date: '2026-06-15', seconds: { operational: 3_600 } });
  expect(days[0]).toEqual({ date: '2026-03-18', seconds: {} });
  expect(expiredFields(Object.keys(fields), NOON)).toEqual(['2020-01-01:degraded']);
  expect(expiredFields(['2026-03-18:operational', '2026-03-17:operational'], NOON)).toEqual(['2026-03-17:operational']);
});

test('[HY3] [HY9] given a day, its status is its worst minute, and its availability counts only observed time', () => {
  expect(worstStatusOf({ date: '', seconds: { operational: 80_000, partial_outage: 59 } })).toBe('operational');
  expect(worstStatusOf({ date: '', seconds: { operational: 80_000, partial_outage: 60 } })).toBe('partial_outage');
  expect(worstStatusOf({ date: '', seconds: { unknown: 300 } })).toBe('unknown');
  expect(worstStatusOf({ date: '', seconds: {} })).toBeUndefined();
  expect(availabilityOf([{ date: '', seconds: { operational: 900, major_outage: 100, unknown: 5_000 } }])).toBe(0.9);
  expect(availabilityOf([{ date: '', seconds: { unknown: 5_000 } }])).toBeUndefined();
});
