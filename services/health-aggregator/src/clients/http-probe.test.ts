import { expect, test } from 'vitest';
import { readHealth } from './http-probe.ts';

test('[PB1] a health body gives readings, with anything unexpected as unknown', () => {
  const body = JSON.stringify({
    state: 'ready',
    checks: { redis: { status: 'up', latency_ms: 0.4 }, postgres: { status: 'down' }, odd: 7, none: null },
  });
  expect(readHealth(body)).toEqual({
    state: 'ready',
    dependencies: {
      redis: { status: 'up', latencyMs: 0.4 },
      postgres: { status: 'down' },
      odd: { status: 'unknown' },
      none: { status: 'unknown' },
    },
  });
});

test('[PB1] a body that is not a health body gives nothing', () => {
  for (const body of ['', 'hello', '[]', '{"checks":1}', 'null']) expect(readHealth(body)).toEqual({});
});
