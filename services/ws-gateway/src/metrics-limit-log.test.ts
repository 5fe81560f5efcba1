import { createFakeClock } from '@muster/testkit/fake-clock';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { expect, test } from 'vitest';
import { createLimitLog } from './metrics.ts';

test('[LM9] given repeated rejections, when they are logged, then the first line is written at once and the next after ten seconds with their number', () => {
  const clock = createFakeClock();
  const log = createInMemoryLog();
  const refused = createLimitLog(log, clock);
  for (let n = 0; n < 50; n += 1) refused('new_groups', { user: 'ann', session: 's' });
  refused('ip', { address: '198.51.100.1' });
  clock.advance(10_000);
  refused('new_groups', { user: 'bob' });
  expect(log.lines.map(({ fields }) => fields)).toEqual([
    { limit: 'new_groups', user: 'ann', session: 's', refusals: 1 },
    { limit: 'ip', address: '198.51.100.1', refusals: 1 },
    { limit: 'new_groups', user: 'bob', refusals: 50 },
  ]);
});
