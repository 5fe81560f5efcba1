import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodePublication,
  encodePush,
  encodeReply,
  PUBLICATION_DATA_AT,
  PUBLICATION_PUSH_TAIL,
  publicationPushHead,
} from './json-codec.ts';

describe('replies', () => {
  test('[RP1] given a success without a result, when it is encoded, then the result is an empty object', () => {
    expect(encodeReply({ id: 3, is: 'unsubscribe' })).toBe('{"id":3,"unsubscribe":{}}');
    expect(encodeReply({ id: 4, is: 'publish' })).toBe('{"id":4,"publish":{}}');
  });

  test('[RP2] given zero values, when a message is encoded, then they are omitted', () => {
    expect(
      encodeReply({
        id: 2,
        is: 'subscribe',
        result: { recoverable: true, positioned: true, epoch: 'Kd8', offset: 0, recovered: false },
      }),
    ).toBe('{"id":2,"subscribe":{"recoverable":true,"epoch":"Kd8","positioned":true}}');
  });

  test('[RP3] given presence, statistics, history and client infos, when they are encoded, then zero values are kept', () => {
    expect(encodeReply({ id: 1, is: 'presence', result: new Map() })).toBe('{"id":1,"presence":{"presence":{}}}');
    expect(encodeReply({ id: 1, is: 'presence_stats', result: { clients: 0, users: 0 } })).toBe(
      '{"id":1,"presence_stats":{"num_clients":0,"num_users":0}}',
    );
    expect(encodeReply({ id: 1, is: 'history', result: { publications: [], epoch: '', offset: 0 } })).toBe(
      '{"id":1,"history":{"publications":[],"epoch":"","offset":0}}',
    );
    expect(encodePush({ is: 'join', channel: 'a', info: { user: '', client: 'c' } })).toBe(
      '{"push":{"channel":"a","join":{"info":{"user":"","client":"c"}}}}',
    );
  });

  test('[RP4] given an error, when it is encoded, then it has code, message, and `temporary` where it is', () => {
    expect(encodeReply({ id: 4, is: 'error', code: 103 })).toBe(
      '{"id":4,"error":{"code":103,"message":"permission denied"}}',
    );
    expect(encodeReply({ id: 4, is: 'error', code: 100 })).toBe(
      '{"id":4,"error":{"code":100,"message":"internal server error","temporary":true}}',
    );
  });

  test('[RP5] given a connect result, when it is encoded, then it has client id, version, ping interval and pong', () => {
    expect(
      encodeReply({
        id: 1,
        is: 'connect',
        result: { client: 'c1', version: 'muster 1', data: '{"a":1}', pingS: 25, pong: true },
      }),
    ).toBe('{"id":1,"connect":{"client":"c1","version":"muster 1","data":{"a":1},"ping":25,"pong":true}}');
  });

  test('[RP6] given names that need escaping, when a message is encoded, then it is valid JSON', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.json(), (name, data) => {
        const text = publicationPushHead(name) + encodePublication({ data, offset: 7 }) + PUBLICATION_PUSH_TAIL;
        const { push } = JSON.parse(text) as { push: { channel: string; pub: { offset: number } } };
        expect(push.channel).toBe(JSON.parse(JSON.stringify(name)));
        expect(push.pub.offset).toBe(7);
      }),
    );
  });

  test('[RP7] given a publication, when it is encoded, then the payload has a fixed offset', () => {
    const data = '{"text":"hé"}';
    const text = encodePublication({ data, info: { user: 'u', client: 'c' } });
    expect(text.slice(PUBLICATION_DATA_AT, PUBLICATION_DATA_AT + data.length)).toBe(data);
  });
});
