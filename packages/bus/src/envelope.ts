import { type GroupPosition, parseGroupPosition } from './position.ts';

/** Kind of a message; `clear`: everything up to its position was removed from the stream. */
export type MessageKind = 'publication' | 'join' | 'leave' | 'clear';

/** An encoded push between replicas, with the fields that a receiver needs without parsing it. */
export interface BusMessage extends GroupPosition {
  readonly kind: MessageKind;
  /** The push as JSON clients receive it, in UTF-8. Replicas do not parse it. */
  readonly body: Buffer;
  /** Offset of the payload in `body`, in bytes. */
  readonly dataAt: number;
  readonly dataLength: number;
  /** Hints for the gateways, such as clients to exclude. Without spaces. */
  readonly attributes: readonly string[];
}

/*
 * Layout, version 1:  0x01 kind ' ' dataAt ' ' dataLength ' ' offset ' ' epoch [' ' note…] '\n' body
 * The head is ASCII, so that a Lua script can write the position by joining strings. `-` is an empty epoch, offset 0 a
 * message that is not kept. Other version bytes are rejected.
 */
const VERSION = 1;
const NEWLINE = 10;
const MAX_HEAD_BYTES = 1024;
const KINDS: Readonly<Record<string, MessageKind>> = { p: 'publication', j: 'join', l: 'leave', c: 'clear' };
const LETTERS: Readonly<Record<MessageKind, string>> = {
  publication: 'p',
  join: 'j',
  leave: 'l',
  clear: 'c',
};

export const encodeMessage = (message: BusMessage): Buffer => {
  const epoch = message.epoch === '' ? '-' : message.epoch;
  const text = `${messageHead(message)}${message.offset} ${epoch}${messageAttributes(message.attributes)}\n`;
  const head = Buffer.from(text, 'latin1');
  return Buffer.concat([head, message.body], head.length + message.body.length);
};

/** The head up to the data length. */
export const messageStart = (kind: MessageKind, dataAt: number): string =>
  `${String.fromCharCode(VERSION)}${LETTERS[kind]} ${dataAt} `;

/** The head up to the position; a script appends `<offset> <epoch>`, the attributes, a newline and the body. */
export const messageHead = ({ kind, dataAt, dataLength }: Pick<BusMessage, 'kind' | 'dataAt' | 'dataLength'>): string =>
  `${messageStart(kind, dataAt)}${dataLength} `;

/** The attributes as text after the epoch, each with a space before it. */
export const messageAttributes = (attributes: readonly string[]): string =>
  attributes.map((attribute) => ` ${attribute}`).join('');

/** Inverse of {@link messageAttributes}. */
export const parseAttributes = (text: string): readonly string[] =>
  text === '' ? NO_ATTRIBUTES : text.trim().split(' ');

/** Decodes a message; undefined for another version or foreign bytes. The body is a view, not a copy. */
export const decodeMessage = (bytes: Buffer): BusMessage | undefined => {
  const end = bytes.subarray(0, MAX_HEAD_BYTES).indexOf(NEWLINE);
  if (end < 0 || bytes[0] !== VERSION) return undefined;
  const [letter = '', at, length, offset, epoch = '', ...attributes] = bytes.toString('latin1', 1, end).split(' ');
  const kind = Object.hasOwn(KINDS, letter) ? KINDS[letter] : undefined;
  const body = bytes.subarray(end + 1);
  const dataAt = Number(at);
  const dataLength = Number(length);
  const position = parseGroupPosition(offset, epoch === '-' ? '' : epoch);
  const fits = dataAt >= 0 && dataLength >= 0 && dataAt + dataLength <= body.length;
  if (kind === undefined || position === undefined || !fits) return undefined;
  return {
    kind,
    body,
    dataAt,
    dataLength,
    ...position,
    attributes: attributes.length === 0 ? NO_ATTRIBUTES : attributes,
  };
};

const NO_ATTRIBUTES: readonly string[] = [];
