import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ClientCommand } from './commands.ts';
import { decodeJsonFrame } from './json-commands.ts';

const decode = (frame: string): readonly ClientCommand[] => {
  const decoded = decodeJsonFrame(frame);
  if (!decoded.ok) throw new Error(decoded.why);
  return decoded.commands;
};

const why = (frame: string): string | undefined => {
  const decoded = decodeJsonFrame(frame);
  return decoded.ok ? undefined : decoded.why;
};

describe('frames', () => {
  test('[FR1] given newline-separated objects, when a frame is decoded, then the commands are in the order of the frame', () => {
    const commands = decode('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"room"}}\n');
    expect(commands.map(({ id, is }) => [id, is])).toEqual([
      [1, 'connect'],
      [2, 'subscribe'],
    ]);
  });

  test.each([
    ['', 'empty'],
    ['\n', 'empty'],
    ['{}\n\n{}', 'empty'],
    ['{}\n\n', 'empty'],
    ['{', 'not_json'],
    ['{"id":1,"connect":{}}{"id":2}', 'not_json'],
    ['[]', 'not_object'],
    ['"text"', 'not_object'],
    ['null', 'not_object'],
  ])('[FR2] given the frame %j, when it is decoded, then it is rejected as a whole: %s', (frame, reason) => {
    expect(why(frame)).toBe(reason);
  });

  test.each([
    '{"id":-1,"connect":{}}',
    '{"id":1.5,"connect":{}}',
    '{"id":4294967296,"connect":{}}',
    '{"id":"1","connect":{}}',
    '{"id":1,"connect":[]}',
    '{"id":1,"connect":"x"}',
    '{"id":1,"connect":{"token":7}}',
    '{"id":1,"subscribe":{"channel":["a"]}}',
    '{"id":1,"subscribe":{"channel":"a","recover":1}}',
    '{"id":1,"subscribe":{"channel":"a","offset":-1}}',
    '{"id":1,"subscribe":{"channel":"a","offset":1e300}}',
    '{"id":1,"history":{"channel":"a","since":3}}',
    '{"id":1,"connect":{"subs":{"a":1}}}',
  ])('[FR3] given a field of the wrong type, when the frame is decoded, then it is malformed: %s', (frame) => {
    expect(why(frame)).toBe('bad_field');
  });

  test('[FR4] given unknown members and null, when a command is decoded, then both count as absent', () => {
    expect(decode('{"id":1,"connect":null,"publish":{"channel":"a","data":1,"novel":[]},"more":2}')).toEqual([
      { is: 'publish', id: 1, channel: 'a', type: 0, data: '1' },
    ]);
  });

  test('[FR5] given an empty object, when it is decoded, then it is a pong; an id without a known method is unknown', () => {
    expect(decode('{}\n{"id":3}\n{"id":4,"dance":{}}\n{"id":5,"ping":{}}').map(({ is }) => is)).toEqual([
      'pong',
      'unknown',
      'unknown',
      'unknown',
    ]);
  });

  test('[FR6] given names such as __proto__, when they are decoded, then they are ordinary text', () => {
    const [first, second] = decode(
      '{"id":1,"subscribe":{"channel":"__proto__","__proto__":{"token":"x"}},"__proto__":{"connect":{}}}\n' +
        '{"id":2,"connect":{"subs":{"__proto__":{"recover":true,"offset":4}}}}',
    );
    expect(first).toMatchObject({ is: 'subscribe', channel: '__proto__', token: '' });
    expect(second).toMatchObject({ is: 'connect' });
    expect(second?.is === 'connect' && [...second.subs.keys()]).toEqual(['__proto__']);
    expect(({} as { token?: unknown }).token).toBeUndefined();
  });

  test('[FR7] given a payload, when it is decoded, then its text is unchanged', () => {
    const [command] = decode(
      '{"publish":{"channel":"a","data": {"big": 12345678901234567890, "x":"\\u00e9\\"}"} },"id":1}',
    );
    expect(command).toMatchObject({ data: '{"big": 12345678901234567890, "x":"\\u00e9\\"}"}' });
  });

  test('[FR7] given a repeated member, when it is decoded, then the last counts, as in JSON.parse', () => {
    const [command] = decode('{"publish":{"data":1,"channel":"a","d\\u0061ta":2},"id":1}');
    expect(command).toMatchObject({ data: '2' });
  });

  test('[FR8] given any JSON payload, when it is decoded, then it is unchanged', () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (json, name) => {
        const channel = JSON.stringify(name);
        const [command] = decode(`{"id":1,"publish":{"channel":${channel},"data":${json}}}`);
        expect(command).toMatchObject({ is: 'publish', channel: name, data: json });
      }),
    );
  });

  test('[FR9] given any text, when it is decoded, then nothing throws', () => {
    const nasty = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc.string({
        unit: fc.constantFrom('{', '}', '[', ']', '"', '\\', ',', ':', '1', 'data', 'publish', ' ', '\n'),
      }),
      fc
        .record({ id: fc.anything(), publish: fc.anything(), connect: fc.anything() }, { requiredKeys: [] })
        .map((value) => {
          try {
            return JSON.stringify(value);
          } catch {
            return '{}';
          }
        }),
    );
    fc.assert(
      fc.property(nasty, (frame) => {
        expect(typeof decodeJsonFrame(frame ?? '').ok).toBe('boolean');
      }),
      { numRuns: 500 },
    );
  });

  test('[FR9] given the deepest nesting that fits a frame, when it is decoded, then nothing throws', () => {
    const deep = '['.repeat(30_000) + ']'.repeat(30_000);
    const [command] = decode(`{"id":1,"publish":{"channel":"a","data":${deep}}}`);
    expect(command).toMatchObject({ data: deep });
  });
});
