import { parseSessionId, type SessionId } from '@muster/session/token';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readCursor, writeCursor } from './cursor.ts';
import { createDerivedKeys } from './signing-keys.ts';

const keys = createDerivedKeys(['cursor-test-secret-0123456789-abcdefgh']);
const uuid = fc.uuid({ version: 4 }).filter((text) => parseSessionId(text) !== undefined);

test('[SE69] given a cursor, it is valid for its own filter only', () => {
  fc.assert(
    fc.property(fc.nat(), uuid, fc.string(), fc.string(), (createdAt, id, filter, other) => {
      const position = { createdAt, id: id as SessionId };
      const cursor = writeCursor(keys, filter, position);
      expect(readCursor(keys, filter, cursor)).toEqual(position);
      if (other !== filter) expect(() => readCursor(keys, other, cursor)).toThrow('Invalid cursor');
    }),
  );
});

test('[SE69] given any other text or one changed character, the cursor is refused', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 400 }), (text) => {
      expect(() => readCursor(keys, '', text)).toThrow('Invalid cursor');
    }),
  );
  const cursor = writeCursor(keys, '', {
    createdAt: 1,
    id: '3f1f0c55-3d9b-4a53-9d1a-000000000000' as SessionId,
  });
  for (let at = 0; at < cursor.length; at += 1) {
    const changed = cursor[at] === 'A' ? 'B' : 'A';
    expect(() => readCursor(keys, '', cursor.slice(0, at) + changed + cursor.slice(at + 1))).toThrow();
  }
});
