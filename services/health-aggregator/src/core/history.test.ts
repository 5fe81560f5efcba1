import { expect, test } from 'vitest';
import { availabilityOf, daysOf, outdated, Tally, worstOf } from './history.ts';
import type { ServiceStatus } from './verdict.ts';
import type { FleetView } from './view.ts';

const NOON = Date.UTC(2026, 5, 15, 12);
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
  services: [{ service: 'gateway', status, up: 1, total: 1, expected: 1, instances: [] }],
});

test('[HY1] time is counted to the status it was spent in, by day, and no second is lost or counted twice', () => {
  const tally = new Tally();
  let now = NOON;
  const total: Record<string, number> = {};
  for (let step = 0; step < 400; step += 1) {
    now += 700;
    tally.add(view(step < 200 ? 'operational' : 'major_outage'), now);
    if (step % 13 !== 0 && step !== 399) continue;
    for (const [field, seconds] of tally.take().get('gateway') ?? [])
      total[field] = (total[field] ?? 0) + seconds;
  }
  expect(total).toEqual({ '2026-06-15:operational': 139, '2026-06-15:major_outage': 140 });
});

test('[HY1] a gap in which nobody looked is not counted', () => {
  const tally = new Tally();
  tally.add(view('operational'), NOON);
  tally.add(view('operational'), NOON + 60_000);
  tally.add(view('operational'), NOON + 62_000);
  expect(tally.take().get('fleet')).toEqual(new Map([['2026-06-15:operational', 2]]));
});

test('[HY2] ninety days are shown, empty ones too, and older ones are dropped', () => {
  const fields = {
    '2026-06-15:operational': '3600',
    '2026-06-14:major_outage': '120',
    '2020-01-01:degraded': '5',
  };
  const days = daysOf(fields, NOON);
  expect(days).toHaveLength(90);
  expect(days.at(-1)).toEqual({ date: '2026-06-15', seconds: { operational: 3_600 } });
  expect(days[0]).toEqual({ date: '2026-03-18', seconds: {} });
  expect(outdated(Object.keys(fields), NOON)).toEqual(['2020-01-01:degraded']);
  expect(outdated(['2026-03-18:operational', '2026-03-17:operational'], NOON)).toEqual([
    '2026-03-17:operational',
  ]);
});

test('[HY3] a day is as bad as the worst minute of it; what is unknown is not availability', () => {
  expect(worstOf({ date: '', seconds: { operational: 80_000, partial_outage: 59 } })).toBe('operational');
  expect(worstOf({ date: '', seconds: { operational: 80_000, partial_outage: 60 } })).toBe('partial_outage');
  expect(worstOf({ date: '', seconds: { unknown: 300 } })).toBe('unknown');
  expect(worstOf({ date: '', seconds: {} })).toBeUndefined();
  expect(
    availabilityOf([{ date: '', seconds: { operational: 900, major_outage: 100, unknown: 5_000 } }]),
  ).toBe(0.9);
  expect(availabilityOf([{ date: '', seconds: { unknown: 5_000 } }])).toBeUndefined();
});
