import { CLOSE_REASON, REPLY_ERRORS, reconnects, UNSUBSCRIBE_REASON } from './codes.ts';
import type { Payload } from './commands.ts';
import { MessageWriter } from './protobuf-wire.ts';
import { memberText } from './raw-json.ts';
import type {
  ClientInfo,
  ClientInfoText,
  CommandReply,
  ConnectResult,
  HistoryResult,
  PublicationText,
  Push,
  SubscribeResult,
} from './replies.ts';

/** A ping: an empty reply, length-delimited. */
export const PROTOBUF_PING: Uint8Array = new MessageWriter().delimited();

/** Length-delimited reply. */
export const encodeProtobufReply = (reply: CommandReply): Uint8Array => {
  const [field, body] = replyBody(reply);
  return new MessageWriter().number(1, reply.id).message(field, body).delimited();
};

/** Length-delimited push that concerns one connection or one event. */
export const encodeProtobufPush = (push: Push): Uint8Array => pushMessage(pushBody(push));

/**
 * Converts the JSON text of a push (publication, join or leave) for Protobuf clients; once per message and gateway. With
 * `compactId` the push carries that number in place of the group name.
 */
export const convertPush = (json: string, compactId = 0): Uint8Array => {
  const push = memberText(json, 'push') ?? '{}';
  const writer = new MessageWriter();
  if (compactId > 0) writer.number(1, compactId);
  else writer.text(2, JSON.parse(memberText(push, 'channel') ?? '""'));
  const pub = memberText(push, 'pub');
  if (pub !== undefined) return pushMessage(writer.message(4, publication(pub)));
  for (const [name, field] of [
    ['join', 5],
    ['leave', 6],
  ] as const) {
    const event = memberText(push, name);
    const info = event === undefined ? undefined : memberText(event, 'info');
    if (info !== undefined) return pushMessage(writer.message(field, new MessageWriter().message(1, infoOf(info))));
  }
  return pushMessage(writer);
};

const pushMessage = (push: MessageWriter): Uint8Array => new MessageWriter().message(4, push).delimited();

const replyBody = (reply: CommandReply): [field: number, body: MessageWriter] => {
  switch (reply.is) {
    case 'error': {
      const { message, temporary } = 'message' in reply ? reply : REPLY_ERRORS[reply.code];
      return [2, new MessageWriter().number(1, reply.code).text(2, message).flag(3, temporary)];
    }
    case 'connect':
      return [5, connectResult(reply.result)];
    case 'subscribe':
      return [6, subscribeResult(reply.result)];
    case 'unsubscribe':
      return [7, new MessageWriter()];
    case 'publish':
      return [8, new MessageWriter()];
    case 'presence':
      return [9, presenceResult(reply.result)];
    case 'presence_stats':
      return [10, new MessageWriter().number(1, reply.result.clients).number(2, reply.result.users)];
    case 'history':
      return [11, historyResult(reply.result)];
    case 'rpc':
      return [13, new MessageWriter().bytes(1, payloadBytes(reply.result))];
    case 'refresh': {
      const { client, version, expires, ttlS } = reply.result;
      return [14, new MessageWriter().text(1, client).text(2, version).flag(3, expires).number(4, ttlS)];
    }
    case 'sub_refresh':
      return [15, new MessageWriter().flag(1, reply.result.expires).number(2, reply.result.ttlS)];
    default:
      return reply satisfies never;
  }
};

const pushBody = (push: Push): MessageWriter => {
  const writer = new MessageWriter();
  switch (push.is) {
    case 'join':
    case 'leave': {
      const event = new MessageWriter().message(1, clientInfo(push.info));
      return writer.text(2, push.channel).message(push.is === 'join' ? 5 : 6, event);
    }
    case 'unsubscribe': {
      const event = new MessageWriter().number(2, push.code).text(3, UNSUBSCRIBE_REASON[push.code]);
      return writer.text(2, push.channel).message(7, event);
    }
    case 'subscribe': {
      const { recoverable, epoch, offset, positioned, data } = push.result;
      const event = new MessageWriter().flag(1, recoverable).text(4, epoch).number(5, offset);
      return writer.text(2, push.channel).message(9, event.flag(6, positioned).bytes(7, json(data)));
    }
    case 'publication':
      return writer.text(2, push.channel).message(4, publication(push.publication));
    case 'refresh':
      return writer.message(12, new MessageWriter().flag(1, push.expires).number(2, push.ttlS));
    case 'message':
      return writer.message(8, new MessageWriter().bytes(1, json(push.data)));
    case 'disconnect': {
      const event = new MessageWriter().number(1, push.code).text(2, CLOSE_REASON[push.code]);
      return writer.message(11, event.flag(3, reconnects(push.code)));
    }
    default:
      return push satisfies never;
  }
};

const connectResult = (result: ConnectResult): MessageWriter => {
  const writer = new MessageWriter()
    .text(1, result.client)
    .text(2, result.version)
    .flag(3, result.expires)
    .number(4, result.ttlS)
    .bytes(5, json(result.data));
  for (const [channel, subscription] of result.subs ?? []) {
    writer.message(6, new MessageWriter().text(1, channel).message(2, subscribeResult(subscription)));
  }
  return writer.number(7, result.pingS).flag(8, result.pong);
};

const subscribeResult = (result: SubscribeResult): MessageWriter => {
  const writer = new MessageWriter()
    .flag(1, result.expires)
    .number(2, result.ttlS)
    .flag(3, result.recoverable)
    .text(6, result.epoch);
  for (const one of result.publications ?? []) writer.message(7, publication(one));
  return writer
    .flag(8, result.recovered)
    .number(9, result.offset)
    .flag(10, result.positioned)
    .bytes(11, json(result.data))
    .flag(12, result.wasRecovering)
    .flag(13, result.delta)
    .number(14, result.compactId);
};

const presenceResult = (clients: ReadonlyMap<string, ClientInfoText>): MessageWriter => {
  const writer = new MessageWriter();
  for (const [client, info] of clients) {
    writer.message(1, new MessageWriter().text(1, client).message(2, infoOf(info)));
  }
  return writer;
};

const historyResult = ({ publications, epoch, offset }: HistoryResult): MessageWriter => {
  const writer = new MessageWriter();
  for (const one of publications) writer.message(1, publication(one));
  return writer.text(2, epoch).number(3, offset);
};

interface ParsedPublication {
  readonly offset?: number;
  readonly tags?: Readonly<Record<string, string>>;
  readonly epoch?: string;
  readonly version?: number;
  /** The payload is a base64 string of bytes other than JSON. */
  readonly b64?: boolean;
  /** The payload is a string with a delta. */
  readonly delta?: boolean;
}

const publication = (text: PublicationText): MessageWriter => {
  const { offset, tags, epoch, version, b64, delta } = JSON.parse(text) as ParsedPublication;
  const data = memberText(text, 'data') ?? '';
  const info = memberText(text, 'info');
  const writer = new MessageWriter()
    .bytes(4, b64 ? fromBase64(JSON.parse(data)) : json(delta ? JSON.parse(data) : data))
    .message(5, info === undefined ? undefined : infoOf(info))
    .number(6, offset);
  for (const [name, value] of Object.entries(tags ?? {})) {
    writer.message(7, new MessageWriter().text(1, name).text(2, value));
  }
  return writer.flag(8, delta).text(14, epoch).number(16, version);
};

const infoOf = (text: ClientInfoText): MessageWriter => {
  const { user, client } = JSON.parse(text) as ClientInfo;
  const [connInfo, chanInfo] = [memberText(text, 'conn_info'), memberText(text, 'chan_info')];
  return clientInfo({
    user,
    client,
    ...(connInfo === undefined ? {} : { connInfo }),
    ...(chanInfo === undefined ? {} : { chanInfo }),
  });
};

const clientInfo = ({ user, client, connInfo, chanInfo }: ClientInfo): MessageWriter =>
  new MessageWriter().text(1, user).text(2, client).bytes(3, json(connInfo)).bytes(4, json(chanInfo));

const utf8 = new TextEncoder();

const json = (text: Payload | undefined): Uint8Array | undefined =>
  text === undefined ? undefined : utf8.encode(text);

const payloadBytes = ({ data, isBinary }: { data?: Payload; isBinary?: boolean }): Uint8Array | undefined =>
  data !== undefined && isBinary ? fromBase64(JSON.parse(data)) : json(data);

const fromBase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
