import { expect, test } from 'vitest';
import { textFrame } from './websocket-frame.ts';

test.each([
  [0, 2],
  [125, 2],
  [126, 4],
  [65_535, 4],
  [65_536, 10],
])('[OB1] given a payload of %i bytes, when it is framed, then the header has %i bytes', (size, head) => {
  const frame = textFrame(Buffer.alloc(size, 0x61));
  expect(frame.length).toBe(head + size);
  expect(frame[0]).toBe(0x81);
  const length = head === 2 ? frame[1] : head === 4 ? frame.readUInt16BE(2) : Number(frame.readBigUInt64BE(2));
  expect(length).toBe(size);
});
