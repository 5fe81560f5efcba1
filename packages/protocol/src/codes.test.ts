import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CLOSE_REASON, CloseCode, REPLY_ERRORS, reconnects, UNSUBSCRIBE_REASON } from './codes.ts';
import { MAX_CLOSE_REASON_BYTES } from './limits.ts';

const spec = readFileSync(new URL('../PROTOCOL.md', import.meta.url), 'utf8');

describe('codes', () => {
  test('[CD1] given a close code, when its reason is read, then it is short, not empty and not JSON', () => {
    for (const code of Object.values(CloseCode)) {
      const reason = CLOSE_REASON[code];
      expect(Buffer.byteLength(reason)).toBeGreaterThan(0);
      expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(MAX_CLOSE_REASON_BYTES);
      expect(() => JSON.parse(reason)).toThrow();
    }
  });

  test('[CD2] given a close code, when a client receives it, then its range decides on a reconnect', () => {
    expect([3000, 3499, 4000, 4499, 5000, 1006, 1001].every(reconnects)).toBe(true);
    expect([1009, 3500, 3999, 4500, 4999].some(reconnects)).toBe(false);
  });

  test('[CD3] given the tables of PROTOCOL.md, when they are compared with the code, then they are equal', () => {
    const rows = [...(spec.split('## 7. Codes')[1] ?? '').matchAll(/^\| *(\d{3,4}) *\| *([^|]+?) *\|/gm)].map(
      ([, code, text]) => [Number(code), text],
    );
    const table: Record<number, string> = {
      ...CLOSE_REASON,
      ...UNSUBSCRIBE_REASON,
      ...Object.fromEntries(Object.entries(REPLY_ERRORS).map(([code, { message }]) => [code, message])),
    };
    expect(Object.fromEntries(rows)).toEqual(table);
    expect(rows).toHaveLength(Object.keys(table).length);
  });
});
