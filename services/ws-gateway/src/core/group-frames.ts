import type { BusMessage } from '@muster/bus/envelope';
import { convertPush } from '@muster/protocol/protobuf-codec';
import { binaryFrame, textFrame } from './frame.ts';

/** How a subscriber wants its publications: as protocol messages in either form, or as the bare payload. */
export type Encoding = 'json' | 'protobuf' | 'plain';

const NEWLINE = Buffer.from('\n');
const QUOTE = 0x22;

/** The bytes for all subscribers of one encoding, of one message or of several at once; empty when there is nothing to say. */
export const groupFrames: Readonly<Record<Encoding, (messages: readonly BusMessage[]) => Buffer>> = {
  json: ([first, ...rest]) => {
    if (first === undefined) return Buffer.alloc(0);
    if (rest.length === 0) return textFrame(first.body);
    return textFrame(Buffer.concat([first.body, ...rest.flatMap(({ body }) => [NEWLINE, body])]));
  },
  protobuf: (messages) =>
    binaryFrame(Buffer.concat(messages.map(({ body }) => convertPush(body.toString())))),
  // Plain clients know no joined messages: several frames, still written as one.
  plain: (messages) => Buffer.concat(messages.filter(({ kind }) => kind === 'publication').map(plainFrame)),
};

/** A JSON string as its characters, any other JSON as it is. */
const plainFrame = ({ body, dataAt, dataLength }: BusMessage): Buffer => {
  const data = body.subarray(dataAt, dataAt + dataLength);
  if (data[0] !== QUOTE) return textFrame(data);
  return textFrame(Buffer.from(String(JSON.parse(data.toString()))));
};
