import type { BusMessage } from '@muster/bus/envelope';
import { compactPushHead, pushHead } from '@muster/protocol/json-codec';
import { convertPush } from '@muster/protocol/protobuf-codec';
import { memberText } from '@muster/protocol/raw-json';
import type { PublicationText } from '@muster/protocol/replies';
import type { Tags, TagsFilter } from '@muster/protocol/tags-filter';
import { binaryFrame, textFrame } from '../connection/websocket-frame.ts';
import type { GroupIdentity } from './group-identity.ts';

/** Encoding of deliveries to one subscriber: protocol messages as JSON or Protobuf, or bare payloads (`plain`). */
export type Encoding = 'json' | 'protobuf' | 'plain';

/** Determines the bytes of a delivery; `-id`: the number of the group replaces its name (channel compaction). */
export type Form = 'json' | 'json-id' | 'protobuf' | 'protobuf-id' | 'plain';

export const FORMS: readonly Form[] = ['json', 'json-id', 'protobuf', 'protobuf-id', 'plain'];

export const formOf = (encoding: Encoding, isCompact: boolean): Form =>
  encoding === 'plain' || !isCompact ? encoding : `${encoding}-id`;

type Named = Pick<GroupIdentity, 'name' | 'id'>;
type Frames = (messages: readonly BusMessage[], group: Named) => Buffer;

const NEWLINE = Buffer.from('\n');
const NO_BYTES = Buffer.alloc(0);
const QUOTE = 0x22;

/** The bytes of one or more messages for all subscribers of a form; empty for none. */
export const groupFrames: Readonly<Record<Form, Frames>> = {
  json: (messages) => jsonFrame(messages.map(({ body }) => body)),
  'json-id': (messages, group) => jsonFrame(messages.map(({ body }) => compacted(body, group))),
  protobuf: (messages) => binaryFrame(Buffer.concat(messages.map(({ body }) => convertPush(body.toString())))),
  'protobuf-id': (messages, { id }) =>
    binaryFrame(Buffer.concat(messages.map(({ body }) => convertPush(body.toString(), id)))),
  // Plain clients parse one message per frame: several frames, in one write.
  plain: (messages) => Buffer.concat(messages.filter(({ kind }) => kind === 'publication').map(plainFrame)),
};

/** One text frame of pushes, separated by newlines. */
export const jsonFrame = ([first, ...rest]: readonly Buffer[]): Buffer => {
  if (first === undefined) return NO_BYTES;
  if (rest.length === 0) return textFrame(first);
  return textFrame(Buffer.concat([first, ...rest.flatMap((body) => [NEWLINE, body])]));
};

/** A push with the number of the group in place of its name. */
export const compacted = (body: Buffer, { name, id }: Named): Buffer =>
  Buffer.concat([Buffer.from(compactPushHead(id)), body.subarray(pushHead(name).length)]);

/** A JSON string without its quotes and escapes, any other JSON unchanged. */
const plainFrame = ({ body, dataAt, dataLength }: BusMessage): Buffer => {
  const data = body.subarray(dataAt, dataAt + dataLength);
  if (data[0] !== QUOTE) return textFrame(data);
  return textFrame(Buffer.from(String(JSON.parse(data.toString()))));
};

const NO_TAGS: Tags = {};

/** Tags of the publication in a push. */
export const tagsOf = (push: string): Tags => {
  const body = memberText(push, 'push');
  const publication = body === undefined ? undefined : memberText(body, 'pub');
  return publication === undefined ? NO_TAGS : publicationTags(publication);
};

/** Publications that match a filter; all without one. */
export const matchingPublications = (
  publications: readonly PublicationText[],
  filter: TagsFilter | undefined,
): readonly PublicationText[] =>
  filter === undefined ? publications : publications.filter((text) => filter(publicationTags(text)));

const publicationTags = (text: PublicationText): Tags => {
  const tags = memberText(text, 'tags');
  return tags === undefined ? NO_TAGS : JSON.parse(tags);
};
