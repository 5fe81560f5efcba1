import { expect, test } from 'vitest';
import { createQuietLog } from './quiet-log.ts';

test('[TW4] remembers level, event and fields, those of children included', () => {
  const log = createQuietLog();
  log.info({ a: 1 }, 'one.happened');
  log.child({ who: 'child' }).child({ deeper: true }).warn({ a: 2 }, 'two.happened');
  expect(log.lines).toEqual([
    { level: 'info', event: 'one.happened', fields: { a: 1 } },
    { level: 'warn', event: 'two.happened', fields: { who: 'child', deeper: true, a: 2 } },
  ]);
  expect(log.of('two.happened')).toHaveLength(1);
});
