import { isUtf8 } from 'node:buffer';
import type { DecodedFrame } from '@muster/protocol/commands';
import { encodePush, encodeReply, JSON_PING } from '@muster/protocol/json-codec';
import { decodeJsonFrame } from '@muster/protocol/json-commands';
import { encodeProtobufPush, encodeProtobufReply, PROTOBUF_PING } from '@muster/protocol/protobuf-codec';
import { decodeProtobufFrame } from '@muster/protocol/protobuf-commands';
import type { Push, Reply } from '@muster/protocol/replies';
import { binaryFrame, textFrame } from './frame.ts';

/** One message as it stands in a frame: text for JSON, bytes for Protobuf. */
export type EncodedMessage = string | Uint8Array;

/** How one connection speaks. */
export interface Codec {
  readonly encoding: 'json' | 'protobuf';
  readonly pingFrame: Buffer;
  decode(frame: string | Buffer): DecodedFrame;
  reply(reply: Reply): EncodedMessage;
  push(push: Push): EncodedMessage;
  /** One WebSocket frame around several messages. */
  frame(messages: readonly EncodedMessage[]): Buffer;
}

const NOT_THIS: DecodedFrame = { ok: false, why: 'not_object' };
const NOT_JSON: DecodedFrame = { ok: false, why: 'not_json' };

/** JSON in text frames, or in binary ones. */
export const jsonCodec: Codec = {
  encoding: 'json',
  pingFrame: textFrame(Buffer.from(JSON_PING)),
  decode: (frame) => {
    if (typeof frame === 'string') return decodeJsonFrame(frame);
    // Some clients send their text as bytes.
    return isUtf8(frame) ? decodeJsonFrame(frame.toString()) : NOT_JSON;
  },
  reply: encodeReply,
  push: encodePush,
  frame: (messages) => textFrame(Buffer.from(messages.join('\n'))),
};

/** Protobuf in binary frames. */
export const protobufCodec: Codec = {
  encoding: 'protobuf',
  pingFrame: binaryFrame(PROTOBUF_PING),
  decode: (frame) => (typeof frame === 'string' ? NOT_THIS : decodeProtobufFrame(frame)),
  reply: encodeProtobufReply,
  push: encodeProtobufPush,
  frame: (messages) => binaryFrame(Buffer.concat(messages.filter((one) => typeof one !== 'string'))),
};
