import { isUtf8 } from 'node:buffer';
import type { DecodedFrame } from '@muster/protocol/commands';
import { encodePush, encodeReply, JSON_PING } from '@muster/protocol/json-codec';
import { decodeJsonFrame } from '@muster/protocol/json-commands';
import { encodeProtobufPush, encodeProtobufReply, PROTOBUF_PING } from '@muster/protocol/protobuf-codec';
import { decodeProtobufFrame } from '@muster/protocol/protobuf-commands';
import { splitMessages } from '@muster/protocol/protobuf-wire';
import type { CommandReply, Push } from '@muster/protocol/replies';
import { binaryFrame, textFrame } from './websocket-frame.ts';

/** One encoded message: text for JSON, bytes for Protobuf. */
export type EncodedMessage = string | Uint8Array;

/** Encoding of one connection. */
export interface Codec {
  readonly encoding: 'json' | 'protobuf';
  readonly pingFrame: Buffer;
  decode(frame: string | Buffer): DecodedFrame;
  /** True when a message of the frame is longer than `bytes`. */
  hasLonger(frame: string | Buffer, bytes: number): boolean;
  reply(reply: CommandReply): EncodedMessage;
  push(push: Push): EncodedMessage;
  /** One WebSocket frame of several messages. */
  frame(messages: readonly EncodedMessage[]): Buffer;
}

const NOT_BINARY: DecodedFrame = { ok: false, why: 'not_object' };
const NOT_JSON: DecodedFrame = { ok: false, why: 'not_json' };

/** JSON in text or binary frames. */
export const jsonCodec: Codec = {
  encoding: 'json',
  pingFrame: textFrame(Buffer.from(JSON_PING)),
  decode: (frame) => {
    if (typeof frame === 'string') return decodeJsonFrame(frame);
    // Some clients send JSON in binary frames.
    return isUtf8(frame) ? decodeJsonFrame(frame.toString()) : NOT_JSON;
  },
  hasLonger: (frame, bytes) =>
    frame
      .toString()
      .split('\n')
      .some((line) => Buffer.byteLength(line) > bytes),
  reply: encodeReply,
  push: encodePush,
  frame: (messages) => textFrame(Buffer.from(messages.join('\n'))),
};

const hasLongerMessage = (frame: Buffer, bytes: number): boolean => {
  try {
    return splitMessages(frame).some(({ length }) => length > bytes);
  } catch {
    // Malformed; rejected by decode().
    return false;
  }
};

/** Protobuf in binary frames. */
export const protobufCodec: Codec = {
  encoding: 'protobuf',
  pingFrame: binaryFrame(PROTOBUF_PING),
  decode: (frame) => (typeof frame === 'string' ? NOT_BINARY : decodeProtobufFrame(frame)),
  hasLonger: (frame, bytes) => typeof frame !== 'string' && hasLongerMessage(frame, bytes),
  reply: encodeProtobufReply,
  push: encodeProtobufPush,
  frame: (messages) => binaryFrame(Buffer.concat(messages.filter((one) => typeof one !== 'string'))),
};
