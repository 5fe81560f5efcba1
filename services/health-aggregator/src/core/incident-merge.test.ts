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

test('[IN6] what nobody has written is written, its beginning before its end', () => {
  expect(mergeIncident([], incident({}))).toEqual([{ kind: 'opened', incident: incident({}) }]);
  const changes = mergeIncident([], closed);
  expect(changes.map(({ kind }) => kind)).toEqual(['opened', 'closed']);
  expect(changes[0]?.incident).toEqual(incident({}));
  expect(changes[1]?.incident).toEqual(closed);
});

test('[IN6] what two saw is written once, however they saw it', () => {
  for (const other of [incident({ id: 'b', openedAt: 101_500 }), { ...closed, id: 'b', openedAt: 99_000 }]) {
    expect(mergeIncident([other], incident({}))).toEqual([]);
    expect(mergeIncident([other], closed)).toEqual([]);
  }
});

test('[IN6] the earlier beginning is the true one', () => {
  const late = incident({ id: 'b', openedAt: 140_000, isStartUnknown: true, updates: [] });
  const [change, ...rest] = mergeIncident([late], incident({}));
  expect(rest).toEqual([]);
  expect(change).toMatchObject({ kind: 'updated', incident: { id: 'b', openedAt: 100_000, seq: 2 } });
  expect(change?.incident.isStartUnknown).toBeUndefined();
});

test('[IN6] an incident that was stored before goes on under its id, and a newer change is not undone', () => {
  expect(mergeIncident([incident({})], closed)).toEqual([{ kind: 'closed', incident: closed }]);
  expect(mergeIncident([closed], incident({}))).toEqual([]);
});

test('[IN6] another subject, another time and a note are something else', () => {
  const seen = incident({ openedAt: 500_000 });
  for (const other of [
    closed,
    incident({ id: 'b', subject: 'database' }),
    incident({ id: 'c', isNote: true }),
  ]) {
    expect(mergeIncident([{ ...other, id: 'other' }], seen).map(({ kind }) => kind)).toEqual(['opened']);
  }
});
