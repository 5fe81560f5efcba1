import { expect, test } from 'vitest';
import { LOG_EVENTS, type LogEvent } from './log-events.ts';

test.each(Object.entries(LOG_EVENTS))('[MC8] %s is component.snake_case with one sentence', (name, event) => {
  expect(name).toMatch(/^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$/);
  expect(event.meaning).toMatch(/^[A-Z].*\.$/);
  expect(new Set(event.levels).size).toBe(event.levels.length);
});

test('[MC5] an event has its levels in its type', () => {
  const atDebug = (event: LogEvent<'debug'>): string => event;
  expect(atDebug('callback.failed')).toBe('callback.failed');
  // @ts-expect-error: it is written at level warn
  expect(atDebug('bus.unreachable')).toBe('bus.unreachable');
  // @ts-expect-error: it is not in the catalogue
  expect(atDebug('bus.missing')).toBe('bus.missing');
});
