import { expect, test } from 'vitest';
import { createFaultLog } from './fault-log.ts';
import type { Logger } from './logger.ts';

test('[FG1] [FG2] [FG3] given a recurring fault, then its start, a reminder every ten minutes and its end are logged', () => {
  const lines: (readonly [string, string, object])[] = [];
  const at = (level: string) => (fields: object, event: string) => void lines.push([level, event, fields]);
  const log: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  };
  let now = 0;
  const fault = createFaultLog(log, { event: 'bus.unreachable', overEvent: 'bus.reachable' }, () => now);
  fault.recovered();
  for (; now < 1_500_000; now += 4_000) fault.failed({ why: 'y' });
  fault.recovered();
  fault.recovered();
  expect(lines).toEqual([
    ['warn', 'bus.unreachable', { why: 'y' }],
    ['warn', 'bus.unreachable', { why: 'y', repeated: 149 }],
    ['warn', 'bus.unreachable', { why: 'y', repeated: 149 }],
    ['info', 'bus.reachable', { repeated: 74 }],
  ]);
  fault.failed();
  expect(lines).toHaveLength(5);
});
