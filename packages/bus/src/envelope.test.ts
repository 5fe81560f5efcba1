import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BusMessage, decodeMessage, encodeMessage } from './envelope.ts';

const anyMessage: fc.Arbitrary<BusMessage> = fc
  .record({
    kind: fc.constantFrom('publication', 'join', 'leave'),
    body: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    offset: fc.nat(),
    epoch: fc.constantFrom('', 'Kd8', '0'),
    attributes: fc.constantFrom([], ['x=1'], ['a', 'b=c']),
  })
  .map((message) => ({ ...message, dataAt: 0, dataLength: message.body.length }));

test('[EN1] given any bytes, when they are encoded and decoded, then they are unchanged', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      expect(decodeMessage(encodeMessage(message))).toEqual(message);
    }),
  );
});

test('[EN2] given attributes of any text, when a message is decoded, then they are returned in order', () => {
  const decoded = decodeMessage(Buffer.from('\u0001p 0 2 7 Kd8 x=1 y=2\nhi', 'latin1'));
  expect(decoded).toMatchObject({
    offset: 7,
    epoch: 'Kd8',
    attributes: ['x=1', 'y=2'],
    body: Buffer.from('hi'),
  });
});

test.each([
  '',
  '\n',
  'p 0 0 0 -\n',
  '\u0002p 0 0 0 -\n',
  '\u0001q 0 0 0 -\n',
  '\u0001p 0 9 0 -\nhi',
  '\u0001p 0 1 x -\nhi',
])('[EN3] given another kind or version, when %j is decoded, then the result is undefined', (bytes) => {
  expect(decodeMessage(Buffer.from(bytes, 'latin1'))).toBeUndefined();
});

test('[EN3] given any bytes, when they are decoded, then nothing throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      decodeMessage(Buffer.from([1, ...bytes]));
    }),
  );
});
