import { expect, test } from 'vitest';
import { createRefusalLog } from './refusal-log.ts';

test('[LG4] given more than twenty refusals of one reason in a second, then the next line has the number left out', () => {
  const lines: Record<string, unknown>[] = [];
  const quiet = () => {};
  const log = {
    debug: quiet,
    warn: quiet,
    error: quiet,
    info: (line: object) => void lines.push({ ...line }),
    child: () => log,
  };
  let now = 0;
  const refused = createRefusalLog(log, () => now);
  for (let count = 0; count < 50; count += 1) refused('http.request_refused', { reason: 'signature', count });
  refused('http.request_refused', { reason: 'audience' });
  expect(lines).toHaveLength(21);
  now = 1_000;
  refused('http.request_refused', { reason: 'signature' });
  expect(lines.at(-1)).toEqual({ reason: 'signature', leftOut: 30 });
});
