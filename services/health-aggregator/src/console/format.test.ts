import { expect, test } from 'vitest';
import { count, latency, nickname, shortAge, uptime } from './format.ts';

test('[CO1] given an age or a duration, it is short and has a unit', () => {
  expect([0, 840, 12_400, 180_000, 7_200_000, 400_000_000].map(shortAge)).toEqual([
    '0.0 s',
    '0.8 s',
    '12 s',
    '3 min',
    '2 h',
    '5 d',
  ]);
  expect([45_000, 720_000, 11_100_000, 187_200_000].map(uptime)).toEqual(['45 s', '12 min', '3 h 5 min', '2 d 4 h']);
  expect([0.42, 12.4, 1_240].map(latency)).toEqual(['0.4 ms', '12 ms', '1.2 s']);
  expect(count(12_345)).toBe('12\u202f345');
});

test('[CO2] given a session id, its nickname is always the same', () => {
  const ids = Array.from({ length: 50 }, (_, index) => `session-${index}`);
  expect(ids.map(nickname)).toEqual(ids.map(nickname));
  expect(new Set(ids.map(nickname)).size).toBeGreaterThan(20);
});
