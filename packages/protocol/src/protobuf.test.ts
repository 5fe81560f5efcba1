import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodePublication, PUBLICATION_PUSH_TAIL, publicationPushHead } from './json-codec.ts';
import { convertPush, encodeProtobufReply, PROTOBUF_PING } from './protobuf-codec.ts';
import { decodeProtobufFrame } from './protobuf-commands.ts';
import { Fields, MessageWriter, splitMessages } from './protobuf-wire.ts';

const utf8 = (text: string) => new TextEncoder().encode(text);
const frame = (...commands: MessageWriter[]) =>
  Uint8Array.from(commands.flatMap((command) => [...command.delimited()]));
const only = (bytes: Uint8Array) => new Fields(splitMessages(bytes)[0] ?? new Uint8Array());

describe('Protobuf', () => {
  test('[PB10] given length-delimited commands, when a frame is decoded, then they are in order', () => {
    const connect = new MessageWriter().number(1, 1).message(4, new MessageWriter().text(1, 'token').text(4, 'js'));
    const subs = new MessageWriter()
      .text(1, 'room')
      .flag(3, true)
      .text(6, 'e')
      .number(7, 2 ** 40)
      .number(14, 3);
    const subscribe = new MessageWriter().number(1, 2).message(5, subs);
    expect(decodeProtobufFrame(frame(connect, subscribe, new MessageWriter()))).toMatchObject({
      ok: true,
      commands: [
        { is: 'connect', id: 1, token: 'token', name: 'js' },
        { is: 'subscribe', id: 2, channel: 'room', recover: true, epoch: 'e', offset: 2 ** 40, flag: 3 },
        { is: 'pong', id: 0 },
      ],
    });
  });

  test('[PB11] given a payload, when it is decoded, then JSON stays text and other bytes become marked base64', () => {
    const publish = (data: Uint8Array) =>
      decodeProtobufFrame(
        frame(new MessageWriter().number(1, 1).message(7, new MessageWriter().text(1, 'a').bytes(2, data))),
      );
    expect(publish(utf8('{"a":\n1}'))).toMatchObject({ commands: [{ data: '{"a": 1}' }] });
    expect(publish(Uint8Array.of(255, 0, 10))).toMatchObject({
      commands: [{ data: '"/wAK"', isBinary: true }],
    });
    expect(publish(new Uint8Array())).toEqual({
      ok: true,
      commands: [{ is: 'publish', id: 1, channel: 'a', type: 0 }],
    });
  });

  test('[PB12] given a negative number, when it is encoded, then it is a varint of ten bytes', () => {
    const limit = Uint8Array.of(0x38, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1);
    const history = new MessageWriter().number(1, 1).bytes(10, Uint8Array.of(10, 1, 97, ...limit));
    expect(decodeProtobufFrame(frame(history))).toMatchObject({
      commands: [{ is: 'history', channel: 'a', limit: -1 }],
    });
  });

  test('[PB13] given any bytes, when they are decoded, then nothing throws and truncated frames are rejected', () => {
    const whole = frame(
      new MessageWriter().number(1, 7).message(7, new MessageWriter().text(1, 'a').bytes(2, utf8('1'))),
    );
    for (let size = 0; size < whole.length; size++) expect(decodeProtobufFrame(whole.subarray(0, size)).ok).toBe(false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeProtobufFrame(bytes)),
      { numRuns: 500 },
    );
  });

  test('[PB14] given any payload, when a push is converted, then its fields are unchanged', () => {
    fc.assert(
      fc.property(
        fc.json(),
        fc.nat(),
        fc.dictionary(fc.string(), fc.string({ minLength: 1 })),
        (data, offset, tags) => {
          const info = { user: 'ann', client: 'c' };
          const pub = encodePublication({ data, info, offset, tags });
          const push = only(convertPush(publicationPushHead('room') + pub + PUBLICATION_PUSH_TAIL)).message(4);
          expect(push?.text(2)).toBe('room');
          const publication = push?.message(4);
          expect(publication?.text(4)).toBe(data);
          expect(publication?.number(6)).toBe(offset);
          expect(publication?.message(5)?.text(1)).toBe('ann');
          const given = Object.entries(tags);
          expect(publication?.messages(7).map((tag) => [tag.text(1), tag.text(2)])).toEqual(
            expect.arrayContaining(given),
          );
        },
      ),
    );
  });

  test('[PB14] given bytes other than JSON, when a push is converted, then they are unchanged', () => {
    const pub = encodePublication({ data: '"/wAK"', isBinary: true });
    const push = only(convertPush(publicationPushHead('room') + pub + PUBLICATION_PUSH_TAIL)).message(4);
    expect([...(push?.message(4)?.bytes(4) ?? [])]).toEqual([255, 0, 10]);
  });

  test('[PB15] given an empty result, when it is encoded, then it is present; a ping is an empty message', () => {
    expect([...encodeProtobufReply({ id: 3, is: 'unsubscribe' })]).toEqual([4, 8, 3, 58, 0]);
    expect([...PROTOBUF_PING]).toEqual([0]);
    const error = only(encodeProtobufReply({ id: 4, is: 'error', code: 100 })).message(2);
    expect([error?.number(1), error?.text(2), error?.flag(3)]).toEqual([100, 'internal server error', true]);
  });
});
