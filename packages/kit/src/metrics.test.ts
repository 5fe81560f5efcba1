import { expect, test } from 'vitest';
import { createMetrics } from './metrics.ts';

const create = () => createMetrics({ service: 's', version: '1' });

test('[MC3] counters with closed labels are there from the start', async () => {
  const metrics = create();
  metrics.counter('gateway_sequence_gaps_total');
  metrics.counter('session_reuse_detected_total');
  const text = await metrics.render();
  expect(text).toContain('gateway_sequence_gaps_total{outcome="lost"} 0');
  expect(text.match(/^session_reuse_detected_total\{.*\} 0$/gm)).toHaveLength(4);
});

test('[MC4] given an instrument, when it is requested again, then it is the same instrument', async () => {
  const metrics = create();
  metrics.counter('gateway_sequence_gaps_total').inc({ outcome: 'lost' });
  metrics.counter('gateway_sequence_gaps_total').inc({ outcome: 'lost' });
  expect(await metrics.render()).toContain('gateway_sequence_gaps_total{outcome="lost"} 2');
});

test('[MC1] a metric, label or value outside the catalogue does not compile', () => {
  const metrics = create();
  const never = () => {
    // @ts-expect-error: no such metric
    metrics.counter('gateway_inventions_total');
    // @ts-expect-error: a gauge, not a counter
    metrics.counter('gateway_groups');
    // @ts-expect-error: no such label
    metrics.counter('gateway_sequence_gaps_total').inc({ result: 'lost' });
    // @ts-expect-error: no such value
    metrics.counter('gateway_sequence_gaps_total').inc({ outcome: 'eaten' });
    // @ts-expect-error: a label is missing
    metrics.counter('gateway_messages_total').inc({ direction: 'in' });
    // @ts-expect-error: it has no labels
    metrics.gauge('gateway_groups').set({ group: 'lobby' }, 1);
  };
  expect(never).toBeTypeOf('function');
});

test('[MC10] given children of instruments, when they are used beside the instruments, then both add to the same series', async () => {
  const metrics = create();
  const counter = metrics.counter('gateway_messages_total');
  const [first, second] = [
    counter.with({ direction: 'in', type: 'ping' }),
    counter.with({ direction: 'in', type: 'ping' }),
  ];
  first.inc();
  second.inc(2);
  counter.inc({ direction: 'in', type: 'ping' }, 4);
  counter.with({ direction: 'in', type: 'publish' }).inc();
  const histogram = metrics.histogram('gateway_publish_duration_seconds');
  const child = histogram.with({ result: 'ok' });
  for (const seconds of [0.0001, 0.02, 1_000]) child.observe(seconds);
  histogram.observe({ result: 'ok' }, 0.02);
  const text = await metrics.render();
  expect(text).toContain('gateway_messages_total{direction="in",type="ping"} 7');
  expect(text).toContain('gateway_messages_total{direction="in",type="publish"} 1');
  expect(text).toContain('gateway_publish_duration_seconds_count{result="ok"} 4');
  expect(text).toContain('gateway_publish_duration_seconds_bucket{le="+Inf",result="ok"} 4');
  const buckets = [...text.matchAll(/gateway_publish_duration_seconds_bucket\{le="([\d.]+)",result="ok"\} (\d)/g)];
  for (const [, bound, count] of buckets) {
    const below = [0.0001, 0.02, 0.02, 1_000].filter((one) => one <= Number(bound)).length;
    expect([bound, Number(count)]).toEqual([bound, below]);
  }
});
