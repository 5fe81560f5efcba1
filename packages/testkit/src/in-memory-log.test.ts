import { expect, test } from 'vitest';
import { createInMemoryLog } from './in-memory-log.ts';

test('[TW4] remembers level, event and fields, those of children included', () => {
  const log = createInMemoryLog();
  log.info({ a: 1 }, 'bus.reachable');
  log.child({ who: 'child' }).child({ deeper: true }).warn({ a: 2 }, 'bus.unreachable');
  expect(log.lines).toEqual([
    { level: 'info', event: 'bus.reachable', fields: { a: 1 } },
    { level: 'warn', event: 'bus.unreachable', fields: { who: 'child', deeper: true, a: 2 } },
  ]);
  expect(log.of('bus.unreachable')).toHaveLength(1);
});
