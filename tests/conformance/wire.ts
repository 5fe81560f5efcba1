import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

/** Encoding of the protocol. */
export type Format = 'json' | 'protobuf';
export const FORMATS: readonly Format[] = ['json', 'protobuf'];

// biome-ignore lint/suspicious/noExplicitAny: messages of any shape.
export type Message = any;

/** Codec of messages and frames, independent of the gateway's own. */
export interface WireCodec {
  readonly subprotocols: readonly string[];
  encode(commands: readonly object[]): string | Uint8Array;
  decode(frame: Buffer, isBinary: boolean): Message[];
}

const SCHEMA = fileURLToPath(new URL('../../packages/protocol/client.proto', import.meta.url));
/** Members with any JSON value: bytes in Protobuf. */
const PAYLOADS = new Set(['data', 'conn_info', 'chan_info']);

export const createWire = (format: Format): WireCodec => (format === 'json' ? JSON_WIRE : createProtobufWire());

const JSON_WIRE: WireCodec = {
  subprotocols: [],
  encode: (commands) => commands.map((command) => JSON.stringify(command)).join('\n'),
  decode: (frame, isBinary) => {
    if (isBinary) throw new Error('a binary frame on a JSON connection');
    return frame
      .toString()
      .replace(/\n$/, '')
      .split('\n')
      .map((text) => JSON.parse(text));
  },
};

const createProtobufWire = (): WireCodec => {
  const root = new protobuf.Root().loadSync(SCHEMA, { keepCase: true });
  const [command, reply] = [root.lookupType('Command'), root.lookupType('Reply')];
  return {
    subprotocols: ['centrifuge-protobuf'],
    encode: (commands) => {
      const writer = protobuf.Writer.create();
      for (const each of commands) command.encodeDelimited(command.fromObject(toBytes(each) as object), writer);
      return writer.finish();
    },
    decode: (frame, isBinary) => {
      if (!isBinary) throw new Error('a text frame on a Protobuf connection');
      const reader = protobuf.Reader.create(frame);
      const messages: Message[] = [];
      while (reader.pos < reader.len) {
        const message = reply.toObject(reply.decodeDelimited(reader), { longs: Number, defaults: false });
        messages.push(fromBytes(message));
      }
      return messages;
    },
  };
};

const toBytes = (value: unknown): unknown => mapped(value, (text) => Buffer.from(JSON.stringify(text)), toBytes);
const fromBytes = (value: unknown): unknown =>
  mapped(value, (bytes) => JSON.parse(Buffer.from(bytes as Uint8Array).toString()), fromBytes);

const mapped = (value: unknown, payload: (value: unknown) => unknown, inner: (value: unknown) => unknown): unknown => {
  if (Array.isArray(value)) return value.map(inner);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, PAYLOADS.has(name) ? payload(member) : inner(member)]),
  );
};
