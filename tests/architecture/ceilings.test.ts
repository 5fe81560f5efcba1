import { CATALOGUE, type MetricName } from '@muster/telemetry/metric-catalogue';
import { expect, test } from 'vitest';
import { allCeilings, documentNow, settingNames, withTable } from './ceilings-table.ts';
import { ruleTests } from './rules.ts';

const ceilings = allCeilings();
const tests = ruleTests();
const SERIES = /^(\w+)(?:\{(\w+)="(\w+)"\})?$/;

test('the table of limits in the guide equals that of the schemas', () => {
  expect(ceilings.length).toBeGreaterThan(15);
  // `npm run generate` writes it.
  expect(documentNow()).toBe(withTable(documentNow()));
});

test('every setting with the name of a limit is marked as a limit', () => {
  const marked = new Set(ceilings.map(({ name }) => name));
  const like = settingNames().filter((name) => /^MAX_|_LIMIT_PER_|_MAX_IN_FLIGHT$|_QUEUE$/.test(name));
  expect(like.filter((name) => !marked.has(name))).toEqual([]);
});

test.each(ceilings)('$service $name has a default, an error, a metric and a test', (ceiling) => {
  const { fallback, refusal, metric, rule, unit } = ceiling;
  expect(Number(fallback)).toBeGreaterThan(0);
  for (const text of [refusal, unit]) expect(text).not.toBe('');
  const [, name = '', label = '', value = ''] = SERIES.exec(metric) ?? [];
  const known = CATALOGUE[name as MetricName] as { labels: Readonly<Record<string, unknown>> } | undefined;
  expect(known, metric).toBeDefined();
  if (label !== '') {
    const values = known?.labels[label];
    // Values that are not a list are described in the catalogue.
    if (Array.isArray(values)) expect(values).toContain(value);
    else expect(values).toBeDefined();
  }
  expect(tests.get(rule), rule).toBeDefined();
});
