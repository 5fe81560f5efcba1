import { expect, test } from 'vitest';
import { mergeIncident } from './incident-merge.ts';
import type { Incident } from './incidents.ts';

const incident = (over: Partial<Incident>): Incident => ({
  id: 'a',
  subject: 'redis',
  severity: 'major_outage',
  openedAt: 100_000,
  seq: 1,
  updates: [{ at: 105_000, status: 'major_outage', seen: ['timeout'] }],
  ...over,
});
const end = { at: 190_000, status: 'operational', seen: [] } as const;
const closed = incident({ closedAt: 170_000, seq: 2, updates: [...incident({}).updates, end] });

test('[IN19] given an incident that is not stored, when it is merged, its start is written before its end', () => {
  expect(mergeIncident([], incident({}))).toEqual([{ kind: 'opened', incident: incident({}) }]);
  const changes = mergeIncident([], closed);
  expect(changes.map(({ kind }) => kind)).toEqual(['opened', 'closed']);
  expect(changes[0]?.incident).toEqual(incident({}));
  expect(changes[1]?.incident).toEqual(closed);
});

test('[IN20] given an incident that two aggregators detected, when both merge it, it is stored once', () => {
  for (const other of [incident({ id: 'b', openedAt: 101_500 }), { ...closed, id: 'b', openedAt: 99_000 }]) {
    expect(mergeIncident([other], incident({}))).toEqual([]);
    expect(mergeIncident([other], closed)).toEqual([]);
  }
});

test('[IN21] given two starts of an incident, the earlier start counts', () => {
  const late = incident({ id: 'b', openedAt: 140_000, isStartUnknown: true, updates: [] });
  const [change, ...rest] = mergeIncident([late], incident({}));
  expect(rest).toEqual([]);
  expect(change).toMatchObject({ kind: 'updated', incident: { id: 'b', openedAt: 100_000, seq: 2 } });
  expect(change?.incident.isStartUnknown).toBeUndefined();
});

test('[IN19] given a stored incident, when it is merged, it keeps its id and a newer change is not undone', () => {
  expect(mergeIncident([incident({})], closed)).toEqual([{ kind: 'closed', incident: closed }]);
  expect(mergeIncident([closed], incident({}))).toEqual([]);
});

test('[IN20] given another subject, another time or a note, when an incident is merged, it is stored as well', () => {
  const seen = incident({ openedAt: 500_000 });
  for (const other of [closed, incident({ id: 'b', subject: 'database' }), incident({ id: 'c', isNote: true })]) {
    expect(mergeIncident([{ ...other, id: 'other' }], seen).map(({ kind }) => kind)).toEqual(['opened']);
  }
});
