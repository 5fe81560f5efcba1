import type { BusMessage } from '@muster/bus/envelope';
import { compactPushHead, pushHead } from '@muster/protocol/json-codec';
import { convertPush } from '@muster/protocol/protobuf-codec';
import { binaryFrame, textFrame } from '../connection/frame.ts';

/** How a subscriber wants its publications: as protocol messages in either form, or as the bare payload. */
export type Encoding = 'json' | 'protobuf' | 'plain';

/** What decides which bytes a subscriber gets; with `-id` the group is named by its number (channel compaction). */
export type Form = 'json' | 'json-id' | 'protobuf' | 'protobuf-id' | 'plain';

/** Every form. */
export const FORMS: readonly Form[] = ['json', 'json-id', 'protobuf', 'protobuf-id', 'plain'];

/** The form of a subscriber. */
export const formOf = (encoding: Encoding, isCompact: boolean): Form =>
  encoding === 'plain' || !isCompact ? encoding : `${encoding}-id`;

/** What frames of a group are made with. */
export interface Named {
  readonly name: string;
  /** Number of the group on this gateway. */
  readonly id: number;
}

type Frames = (messages: readonly BusMessage[], group: Named) => Buffer;

const NEWLINE = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);
const QUOTE = 0x22;

/** The bytes for all subscribers of one form, of one message or of several at once; empty when there is nothing to say. */
export const groupFrames: Readonly<Record<Form, Frames>> = {
  json: (messages) => jsonFrame(messages.map(({ body }) => body)),
  'json-id': (messages, group) => jsonFrame(messages.map(({ body }) => compacted(body, group))),
  protobuf: (messages) =>
    binaryFrame(Buffer.concat(messages.map(({ body }) => convertPush(body.toString())))),
  'protobuf-id': (messages, { id }) =>
    binaryFrame(Buffer.concat(messages.map(({ body }) => convertPush(body.toString(), id)))),
  // Plain clients know no joined messages: several frames, still written as one.
  plain: (messages) => Buffer.concat(messages.filter(({ kind }) => kind === 'publication').map(plainFrame)),
};

/** One text frame around pushes, joined by newlines. */
export const jsonFrame = ([first, ...rest]: readonly Buffer[]): Buffer => {
  if (first === undefined) return NOTHING;
  if (rest.length === 0) return textFrame(first);
  return textFrame(Buffer.concat([first, ...rest.flatMap((body) => [NEWLINE, body])]));
};

/** A push with the group's number for its name. */
export const compacted = (body: Buffer, { name, id }: Named): Buffer =>
  Buffer.concat([Buffer.from(compactPushHead(id)), body.subarray(pushHead(name).length)]);

/** A JSON string as its characters, any other JSON as it is. */
const plainFrame = ({ body, dataAt, dataLength }: BusMessage): Buffer => {
  const data = body.subarray(dataAt, dataAt + dataLength);
  if (data[0] !== QUOTE) return textFrame(data);
  return textFrame(Buffer.from(String(JSON.parse(data.toString()))));
};
