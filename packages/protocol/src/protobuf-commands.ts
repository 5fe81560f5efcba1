import type { ClientCommand, DecodedFrame, Payload, RecoverRequest } from './commands.ts';
import { MAX_COMMAND_ID } from './limits.ts';
import { Fields, MalformedMessage, splitMessages } from './protobuf-wire.ts';

/** Decodes one binary frame: a sequence of length-delimited commands. */
export const decodeProtobufFrame = (frame: Uint8Array): DecodedFrame => {
  if (frame.length === 0) return { ok: false, why: 'empty' };
  try {
    return { ok: true, commands: splitMessages(frame).map((bytes) => command(new Fields(bytes))) };
  } catch (error) {
    if (error instanceof MalformedMessage) return { ok: false, why: 'bad_field' };
    throw error;
  }
};

type Decode = (id: number, request: Fields) => ClientCommand;

/** Field of the command → method, by precedence: the first field that is present counts. */
const METHODS: readonly (readonly [field: number, decode: Decode])[] = [
  [4, (id, request) => connect(id, request)],
  [11, (id) => ({ is: 'unknown', id })],
  [5, (id, request) => subscribe(id, request)],
  [6, (id, request) => ({ is: 'unsubscribe', id, channel: request.text(1) })],
  [7, (id, request) => publish(id, request)],
  [8, (id, request) => ({ is: 'presence', id, channel: request.text(1) })],
  [9, (id, request) => ({ is: 'presence_stats', id, channel: request.text(1) })],
  [10, (id, request) => history(id, request)],
  [13, (id, request) => ({ is: 'rpc', id, method: request.text(2), ...payload(request, 1) })],
  [12, (id, request) => ({ is: 'send', id, ...payload(request, 1) })],
  [14, (id, request) => ({ is: 'refresh', id, token: request.text(1) })],
  [15, (id, request) => ({ is: 'sub_refresh', id, channel: request.text(1), token: request.text(2) })],
];

const command = (fields: Fields): ClientCommand => {
  const id = fields.unsigned(1, MAX_COMMAND_ID);
  for (const [field, decode] of METHODS) {
    const request = fields.message(field);
    if (request !== undefined) return decode(id, request);
  }
  return id === 0 ? { is: 'pong', id } : { is: 'unknown', id };
};

const connect = (id: number, request: Fields): ClientCommand => {
  const subs = new Map<string, RecoverRequest>();
  for (const entry of request.messages(3)) subs.set(entry.text(1), recovery(entry.message(2) ?? EMPTY));
  const known = { token: request.text(1), name: request.text(4), version: request.text(5), subs };
  return { is: 'connect', id, ...known, ...payload(request, 2) };
};

const subscribe = (id: number, request: Fields): ClientCommand => {
  const filter = request.bytes(13);
  return {
    is: 'subscribe',
    id,
    channel: request.text(1),
    token: request.text(2),
    ...recovery(request),
    positioned: request.flag(9),
    recoverable: request.flag(10),
    joinLeave: request.flag(11),
    flag: request.number(14),
    type: request.number(15),
    ...(filter === undefined ? {} : { filter }),
    ...payload(request, 8),
  };
};

const publish = (id: number, request: Fields): ClientCommand => ({
  is: 'publish',
  id,
  channel: request.text(1),
  type: request.number(3),
  ...payload(request, 2),
});

const history = (id: number, request: Fields): ClientCommand => {
  const since = request.message(8);
  const position = since && { offset: since.unsigned(1, Number.MAX_SAFE_INTEGER), epoch: since.text(2) };
  return {
    is: 'history',
    id,
    channel: request.text(1),
    limit: request.number(7),
    reverse: request.flag(9),
    ...(position === undefined ? {} : { since: position }),
  };
};

const recovery = (request: Fields): RecoverRequest => ({
  recover: request.flag(3),
  epoch: request.text(6),
  offset: request.unsigned(7, Number.MAX_SAFE_INTEGER),
  delta: request.text(12),
});

const EMPTY = new Fields(new Uint8Array());

/** JSON as its text; other bytes as a JSON string of base64, marked with `isBinary`. */
const payload = (request: Fields, field: number): { data?: Payload; isBinary?: true } => {
  const bytes = request.bytes(field);
  if (bytes === undefined || bytes.length === 0) return {};
  const text = asJson(bytes);
  return text === undefined ? { data: JSON.stringify(toBase64(bytes)), isBinary: true } : { data: text };
};

const decoder = new TextDecoder('utf-8', { fatal: true });

const asJson = (bytes: Uint8Array): string | undefined => {
  try {
    const text = decoder.decode(bytes);
    JSON.parse(text);
    // Line breaks would split a JSON frame.
    return text.replace(/[\r\n]+/g, ' ');
  } catch {
    return undefined;
  }
};

const toBase64 = (bytes: Uint8Array): string => {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
};
