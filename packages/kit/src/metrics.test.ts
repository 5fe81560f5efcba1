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
