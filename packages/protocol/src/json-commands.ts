import type { ClientCommand, DecodedFrame, Payload, RecoverRequest, StreamPosition } from './commands.ts';
import { MAX_COMMAND_ID } from './limits.ts';
import { memberText } from './raw-json.ts';

/** Decodes one text frame: JSON objects separated by single newlines; one trailing newline is allowed. */
export const decodeJsonFrame = (frame: string): DecodedFrame => {
  const text = frame.endsWith('\n') ? frame.slice(0, -1) : frame;
  const commands: ClientCommand[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') return { ok: false, why: 'empty' };
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return { ok: false, why: 'not_json' };
    }
    if (!isObject(value)) return { ok: false, why: 'not_object' };
    try {
      commands.push(decodeCommand(value, line));
    } catch (error) {
      if (error instanceof BadField) return { ok: false, why: 'bad_field' };
      throw error;
    }
  }
  return { ok: true, commands };
};

type JsonObject = { readonly [name: string]: unknown };

class BadField extends Error {}

/** Id, object and raw payload of a method. */
interface Request {
  readonly id: number;
  readonly body: JsonObject;
  readonly data: { readonly data?: Payload };
}

/** By precedence: the first method that is present counts. */
const METHODS: readonly (readonly [name: string, decode: (request: Request) => ClientCommand])[] = [
  ['connect', ({ id, body, data }) => connect(id, body, data)],
  ['ping', ({ id }) => ({ is: 'unknown', id })],
  ['subscribe', ({ id, body, data }) => subscribe(id, body, data)],
  ['unsubscribe', ({ id, body }) => ({ is: 'unsubscribe', id, channel: text(body, 'channel') })],
  [
    'publish',
    ({ id, body, data }) => ({
      is: 'publish',
      id,
      channel: text(body, 'channel'),
      type: integer(body, 'type'),
      ...data,
    }),
  ],
  ['presence', ({ id, body }) => ({ is: 'presence', id, channel: text(body, 'channel') })],
  ['presence_stats', ({ id, body }) => ({ is: 'presence_stats', id, channel: text(body, 'channel') })],
  ['history', ({ id, body }) => history(id, body)],
  ['rpc', ({ id, body, data }) => ({ is: 'rpc', id, method: text(body, 'method'), ...data })],
  ['send', ({ id, data }) => ({ is: 'send', id, ...data })],
  ['refresh', ({ id, body }) => ({ is: 'refresh', id, token: text(body, 'token') })],
  [
    'sub_refresh',
    ({ id, body }) => ({ is: 'sub_refresh', id, channel: text(body, 'channel'), token: text(body, 'token') }),
  ],
];

const decodeCommand = (value: JsonObject, line: string): ClientCommand => {
  const id = unsigned(value, 'id', MAX_COMMAND_ID);
  for (const [name, decode] of METHODS) {
    const body = own(value, name);
    if (body === undefined) continue;
    if (!isObject(body)) throw new BadField();
    const data = 'data' in body ? rawData(line, name) : {};
    return decode({ id, body, data });
  }
  return id === 0 ? { is: 'pong', id } : { is: 'unknown', id };
};

const connect = (id: number, body: JsonObject, data: { data?: Payload }): ClientCommand => {
  const subs = new Map<string, RecoverRequest>();
  for (const [channel, request] of Object.entries(object(body, 'subs'))) {
    if (!isObject(request)) throw new BadField();
    subs.set(channel, recovery(request));
  }
  return {
    is: 'connect',
    id,
    token: text(body, 'token'),
    name: text(body, 'name'),
    version: text(body, 'version'),
    subs,
    ...data,
  };
};

const subscribe = (id: number, body: JsonObject, data: { data?: Payload }): ClientCommand => {
  const filter = own(body, 'tf');
  return {
    is: 'subscribe',
    id,
    channel: text(body, 'channel'),
    token: text(body, 'token'),
    ...recovery(body),
    positioned: flag(body, 'positioned'),
    recoverable: flag(body, 'recoverable'),
    joinLeave: flag(body, 'join_leave'),
    flag: integer(body, 'flag'),
    type: integer(body, 'type'),
    ...(filter === undefined ? {} : { filter }),
    ...data,
  };
};

const history = (id: number, body: JsonObject): ClientCommand => {
  const since = own(body, 'since');
  if (since !== undefined && !isObject(since)) throw new BadField();
  return {
    is: 'history',
    id,
    channel: text(body, 'channel'),
    limit: integer(body, 'limit'),
    reverse: flag(body, 'reverse'),
    ...(since === undefined ? {} : { since: position(since) }),
  };
};

const recovery = (body: JsonObject): RecoverRequest => ({
  recover: flag(body, 'recover'),
  ...position(body),
  delta: text(body, 'delta'),
});

const position = (body: JsonObject): StreamPosition => ({
  offset: unsigned(body, 'offset', Number.MAX_SAFE_INTEGER),
  epoch: text(body, 'epoch'),
});

const rawData = (line: string, method: string): { data?: Payload } => {
  const body = memberText(line, method);
  const data = body === undefined ? undefined : memberText(body, 'data');
  return data === undefined ? {} : { data };
};

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Own member; null counts as absent. Inherited names such as `constructor` are not read. */
const own = (body: JsonObject, name: string): unknown =>
  Object.hasOwn(body, name) ? (body[name] ?? undefined) : undefined;

const object = (body: JsonObject, name: string): JsonObject => {
  const value = own(body, name) ?? {};
  if (!isObject(value)) throw new BadField();
  return value;
};

const text = (body: JsonObject, name: string): string => {
  const value = own(body, name) ?? '';
  if (typeof value !== 'string') throw new BadField();
  return value;
};

const flag = (body: JsonObject, name: string): boolean => {
  const value = own(body, name) ?? false;
  if (typeof value !== 'boolean') throw new BadField();
  return value;
};

const integer = (body: JsonObject, name: string): number => {
  const value = own(body, name) ?? 0;
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new BadField();
  return value;
};

const unsigned = (body: JsonObject, name: string, max: number): number => {
  const value = integer(body, name);
  if (value < 0 || value > max) throw new BadField();
  return value;
};
