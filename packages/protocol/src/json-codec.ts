import { CLOSE_REASON, REPLY_ERRORS, reconnects, UNSUBSCRIBE_REASON } from './codes.ts';
import type {
  ClientInfo,
  CommandReply,
  ConnectResult,
  Publication,
  PublicationText,
  Push,
  RefreshResult,
  SubRefreshResult,
  SubscribeResult,
} from './replies.ts';

export const JSON_PING = '{}';

/** JSON text of a reply. Zero values are omitted, except in fields that clients rely on. */
export const encodeReply = (reply: CommandReply): string => {
  const id = number('id', reply.id);
  return object(id, raw(reply.is, replyBody(reply)));
};

/** JSON text of a push that concerns one connection or one event. */
export const encodePush = (push: Push): string => `{"push":${pushBody(push)}}`;

/** Start of every push to a group. */
export const pushHead = (channel: string): string => `{"push":{"channel":${JSON.stringify(channel)},`;

/** Start of every push to a group for subscribers with channel compaction. */
export const compactPushHead = (id: number): string => `{"push":{"id":${id},`;

/** Text before a publication's JSON text in a push; {@link PUBLICATION_PUSH_TAIL} follows it. */
export const publicationPushHead = (channel: string): string => `${pushHead(channel)}"pub":`;
export const PUBLICATION_PUSH_TAIL = '}}';

/** JSON text of a publication. `data` is the first member, so that it can be sliced by its length. */
export const encodePublication = (publication: Publication): PublicationText => {
  const { data, info, offset, tags, isBinary, version } = publication;
  return object(
    `"data":${data}`,
    flag('b64', isBinary),
    raw('info', info && encodeClientInfo(info)),
    raw('tags', tags && JSON.stringify(tags)),
    number('version', version),
    number('offset', offset),
  );
};

/** Offset of the payload in every {@link encodePublication} text. */
export const PUBLICATION_DATA_AT = '{"data":'.length;

/** JSON text of a client info; `user` and `client` are always present. */
export const encodeClientInfo = ({ user, client, connInfo, chanInfo }: ClientInfo): string =>
  object(
    `"user":${JSON.stringify(user)}`,
    `"client":${JSON.stringify(client)}`,
    raw('conn_info', connInfo),
    raw('chan_info', chanInfo),
  );

const replyBody = (reply: CommandReply): string => {
  switch (reply.is) {
    case 'error': {
      const { message, temporary } = 'message' in reply ? reply : REPLY_ERRORS[reply.code];
      return object(number('code', reply.code), text('message', message), flag('temporary', temporary));
    }
    case 'connect':
      return connectResult(reply.result);
    case 'subscribe':
      return subscribeResult(reply.result);
    case 'presence':
      return `{"presence":${dictionary(reply.result, asIs)}}`;
    case 'presence_stats':
      return `{"num_clients":${reply.result.clients},"num_users":${reply.result.users}}`;
    case 'history': {
      const { publications, epoch, offset } = reply.result;
      return `{"publications":${list(publications)},"epoch":${JSON.stringify(epoch)},"offset":${offset}}`;
    }
    case 'rpc':
      return object(raw('data', reply.result.data));
    case 'refresh':
      return refreshResult(reply.result);
    case 'sub_refresh':
      return expiry(reply.result);
    case 'unsubscribe':
    case 'publish':
      return '{}';
    default:
      return reply satisfies never;
  }
};

const pushBody = (push: Push): string => {
  switch (push.is) {
    case 'join':
    case 'leave':
      return object(text('channel', push.channel), raw(push.is, object(raw('info', encodeClientInfo(push.info)))));
    case 'unsubscribe':
      return object(
        text('channel', push.channel),
        raw('unsubscribe', object(number('code', push.code), text('reason', UNSUBSCRIBE_REASON[push.code]))),
      );
    case 'subscribe':
      return object(text('channel', push.channel), raw('subscribe', subscribeResult(push.result)));
    case 'publication':
      return object(text('channel', push.channel), raw('pub', push.publication));
    case 'refresh':
      return object(raw('refresh', expiry(push)));
    case 'message':
      return object(raw('message', object(raw('data', push.data))));
    case 'disconnect': {
      const { code } = push;
      return object(
        raw(
          'disconnect',
          object(number('code', code), text('reason', CLOSE_REASON[code]), flag('reconnect', reconnects(code))),
        ),
      );
    }
    default:
      return push satisfies never;
  }
};

const connectResult = (result: ConnectResult): string =>
  object(
    text('client', result.client),
    text('version', result.version),
    flag('expires', result.expires),
    number('ttl', result.ttlS),
    raw('data', result.data),
    result.subs?.size ? raw('subs', dictionary(result.subs, subscribeResult)) : '',
    number('ping', result.pingS),
    flag('pong', result.pong),
  );

const subscribeResult = (result: SubscribeResult): string =>
  object(
    flag('expires', result.expires),
    number('ttl', result.ttlS),
    flag('recoverable', result.recoverable),
    text('epoch', result.epoch),
    result.publications?.length ? raw('publications', list(result.publications)) : '',
    flag('recovered', result.recovered),
    number('offset', result.offset),
    flag('positioned', result.positioned),
    raw('data', result.data),
    flag('was_recovering', result.wasRecovering),
    flag('delta', result.delta),
    number('id', result.compactId),
  );

const refreshResult = (result: RefreshResult): string =>
  object(
    text('client', result.client),
    text('version', result.version),
    flag('expires', result.expires),
    number('ttl', result.ttlS),
  );

const expiry = (result: SubRefreshResult): string =>
  object(flag('expires', result.expires), number('ttl', result.ttlS));

/* One member each, or nothing for a zero value. Names are ours and need no escaping. */
const text = (name: string, value: string | undefined): string => (value ? `"${name}":${JSON.stringify(value)}` : '');
const number = (name: string, value: number | undefined): string => (value ? `"${name}":${value}` : '');
const flag = (name: string, value: boolean | undefined): string => (value ? `"${name}":true` : '');
const raw = (name: string, json: string | undefined): string => (json === undefined ? '' : `"${name}":${json}`);

const object = (...members: readonly string[]): string => {
  let body = '';
  for (const member of members) if (member !== '') body += body === '' ? member : `,${member}`;
  return `{${body}}`;
};

const asIs = (json: string): string => json;

const list = (items: readonly string[]): string => `[${items.join(',')}]`;

const dictionary = <T>(entries: ReadonlyMap<string, T>, encode: (value: T) => string): string => {
  const members: string[] = [];
  for (const [name, value] of entries) members.push(`${JSON.stringify(name)}:${encode(value)}`);
  return `{${members.join(',')}}`;
};
