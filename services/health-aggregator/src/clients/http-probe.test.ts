import { expect, test } from 'vitest';
import { readHealth } from './http-probe.ts';

test('[PB1] [PB5] given a health body, when it is read, then unexpected values are unknown readings', () => {
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

test('[PB4] given a body that is not a health body, when it is read, then it is ignored', () => {
  for (const body of ['', 'hello', '[]', '{"checks":1}', 'null']) expect(readHealth(body)).toEqual({});
});
