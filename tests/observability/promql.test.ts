import { expect, test } from 'vitest';
import { expressions, recordedSeries } from './expressions.ts';
import { problemsOf } from './promql.ts';

const recorded = new Map([['slo:budget:ratio', ['slo']]]);

test.each([
  'sum by (outcome) (rate(gateway_sequence_gaps_total{outcome="lost",instance=~"$instance"}[$__rate_interval]))',
  'histogram_quantile(0.99, sum by (le) (rate(gateway_publish_duration_seconds_bucket[5m])))',
  'time() - max by (instance) (gateway_bus_canary_last_success_timestamp_seconds) > 15',
  'max(fleet_instances{state=~"up|degraded"}) unless on (slo) slo:budget:ratio offset 5m',
  '1 - sum_over_time(slo:budget:ratio{slo="gateway-connect"}[30d:2m])',
  'up{job="fleet"} == 0 and on () vector(1)',
  'changes(max(fleet_epoch)[2m:30s]) > 0',
])('[OBS2] %s uses only what the catalogue has', (expression) => {
  expect(problemsOf(expression, recorded)).toEqual([]);
});

test.each([
  ['rate(gateway_inventions_total[5m])', 'unknown metric gateway_inventions_total'],
  ['gateway_publish_duration_seconds > 1', 'unknown metric gateway_publish_duration_seconds'],
  ['gateway_groups_count', 'unknown metric gateway_groups_count'],
  ['gateway_groups{group="lobby"}', 'gateway_groups does not have the label group'],
  ['fleet_instances{state="asleep"}', 'fleet_instances: state="asleep" is not in the catalogue'],
  ['fleet_instances{state=~"up|asleep"}', 'fleet_instances: state="asleep" is not in the catalogue'],
  ['sum by (outcome) (gateway_groups)', 'no series of the expression has the label outcome'],
  ['slo:other:ratio > 1', 'unknown metric slo:other:ratio'],
])('[OBS2] %s is reported', (expression, problem) => {
  expect(problemsOf(expression, recorded)).toContain(problem);
});

test('[OBS2] rules, annotations and panels use only what the catalogue has', () => {
  const recorded = recordedSeries();
  const problems = expressions().flatMap(({ where, expr }) =>
    problemsOf(expr, recorded).map((problem) => `${where}: ${problem}`),
  );
  expect(problems).toEqual([]);
});
