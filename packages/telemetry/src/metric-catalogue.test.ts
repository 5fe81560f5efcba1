import { expect, test } from 'vitest';
import { budgetOf, type Metric, unitOf } from './metric.ts';
import { CATALOGUE, CHAPTERS } from './metric-catalogue.ts';

const all = Object.entries<Metric>(CATALOGUE);
const DERIVED = /_(count|sum|bucket|info)$/;
/** Most series of one metric: beyond it a label is too many. */
const MOST_SERIES = 1_800;

test('[MC2] every metric is in one chapter', () => {
  const listed = CHAPTERS.flatMap(({ metrics }) => Object.keys(metrics));
  expect(listed.toSorted()).toEqual(Object.keys(CATALOGUE).toSorted());
});

test.each(all)(
  '[MC2] [MC6] %s has a conventional name and one sentence of help',
  (name, { kind, labels, help, panel }) => {
    expect(name).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)+$/);
    expect(name.endsWith('_total')).toBe(kind === 'counter');
    if (kind === 'histogram') expect(name).not.toMatch(DERIVED);
    expect(name).not.toMatch(/_(milliseconds|ms|kb|percent)(_|$)/);
    expect(help).toMatch(/^[A-Z1].*[^.]\.$/);
    for (const label of Object.keys(labels)) {
      expect(label).toMatch(/^[a-z][a-z_]*$/);
      expect(['le', 'quantile', 'job', 'instance']).not.toContain(label);
    }
    for (const label of panel.by ?? []) expect([...Object.keys(labels), 'instance']).toContain(label);
  },
);

test.each(all)('[MC7] %s has a bounded budget', (name, metric) => {
  expect(budgetOf(metric)).toBeLessThanOrEqual(MOST_SERIES);
  expect(budgetOf(metric)).toBeGreaterThan(0);
  if (metric.kind === 'histogram') {
    const buckets = metric.buckets ?? [];
    expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
    expect(buckets.length).toBeGreaterThan(3);
  }
  if (metric.zero) expect(Object.values(metric.labels).filter((values) => 'atMost' in values)).toEqual([]);
  if (unitOf(name) === 'time') expect(metric.panel.as).toBe('age');
});
