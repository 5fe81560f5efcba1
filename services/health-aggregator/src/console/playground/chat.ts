import { signal } from '@preact/signals';
import { Centrifuge, type PublicationContext, type Subscription } from 'centrifuge';
import { clearIdentity, identity, loadIdentity } from './identity.ts';
import { tabToken } from './session-api.ts';

const MAX_MESSAGES = 200;
const MAX_TEXT = 2_000;
const RECHECK_MS = 5_000;
/** Close codes of a gateway for a session that ended or is no longer valid. */
const SESSION_ENDED_CODES: ReadonlySet<number> = new Set([3500, 4501]);

/** A chat message. */
export interface ChatMessage {
  readonly key: number;
  readonly text: string;
  readonly author: string;
  /** Gateway of the author, as sent by the author's client. */
  readonly via: string;
  readonly at: number;
  readonly isMine: boolean;
}

/** Connection state of this tab. */
export type ConnectionState =
  | { readonly is: 'off' }
  | { readonly is: 'connecting'; readonly why: string }
  | { readonly is: 'online'; readonly gateway: string; readonly client: string }
  | { readonly is: 'refused'; readonly why: string };

export const connectionState = signal<ConnectionState>({ is: 'off' });
export const joinedGroup = signal('');
export const joinError = signal('');
export const messages = signal<readonly ChatMessage[]>([]);

let client: Centrifuge | undefined;
let subscription: Subscription | undefined;
let serial = 0;
let checkedAt = 0;

/** Connects with the session of this tab. */
export const connect = (): void => {
  disconnect();
  const url = new URL('/connection/websocket', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const token = tabToken.read();
  const next = new Centrifuge(url.href, {
    name: 'muster-console',
    minReconnectDelay: 300,
    maxReconnectDelay: 5_000,
    ...(token ? { token } : {}),
  });
  client = next;
  next.on('connecting', ({ code, reason }) => {
    connectionState.value = { is: 'connecting', why: code === 0 ? '' : reason };
  });
  next.on('connected', ({ client: id, data }) => {
    const gateway = (data as { gateway?: unknown } | undefined)?.gateway;
    connectionState.value = {
      is: 'online',
      gateway: typeof gateway === 'string' ? gateway : 'a gateway',
      client: id,
    };
  });
  next.on('disconnected', ({ code, reason }) => handleDisconnect(code, reason));
  // A browser cannot read the status of a rejected upgrade; the session service confirms that the session exists.
  next.on('error', () => void recheck());
  next.connect();
  if (joinedGroup.value) join(joinedGroup.value);
};

const recheck = async (): Promise<void> => {
  if (connectionState.value.is === 'online' || performance.now() - checkedAt < RECHECK_MS) return;
  checkedAt = performance.now();
  if (await loadIdentity()) return;
  disconnect();
  clearIdentity('The session has ended.');
};

const handleDisconnect = (code: number, reason: string): void => {
  const gateway = connectionState.value.is === 'online' ? connectionState.value.gateway : '';
  if (code === 0) return;
  if (!SESSION_ENDED_CODES.has(code)) {
    connectionState.value = { is: 'refused', why: `${reason || 'closed'} (${code})` };
    return;
  }
  connectionState.value = { is: 'off' };
  const closer = gateway || 'The gateway';
  clearIdentity(`You were signed out. ${closer} closed the connection with ${code} “${reason}”.`);
};

/** Closes the connection of this tab, if any. */
export const disconnect = (): void => {
  subscription = undefined;
  client?.disconnect();
  client?.removeAllListeners();
  client = undefined;
  connectionState.value = { is: 'off' };
};

/** Leaves the previous group and joins this group. */
export const join = (name: string): void => {
  if (!client) return;
  if (subscription) client.removeSubscription(subscription);
  if (joinedGroup.value !== name) messages.value = [];
  joinedGroup.value = name;
  joinError.value = '';
  const next = client.newSubscription(name);
  subscription = next;
  next.on('publication', addMessage);
  next.on('subscribed', () => {
    joinError.value = '';
  });
  next.on('error', ({ error }) => {
    joinError.value = `Could not join ${name}: ${error.message} (${error.code}).`;
  });
  next.on('unsubscribed', ({ code, reason }) => {
    if (code !== 0) joinError.value = `Unsubscribed from ${name}: ${reason} (${code}).`;
  });
  next.subscribe();
};

const addMessage = ({ data, info }: PublicationContext): void => {
  const { text, author, via } = asMessage(data);
  const isMine = connectionState.value.is === 'online' && info?.client === connectionState.value.client;
  serial += 1;
  const message = { key: serial, text, author, via, at: Date.now(), isMine };
  messages.value = [...messages.value, message].slice(-MAX_MESSAGES);
};

/** Message of any payload: a string is the text, an object may name its author, other payloads are shown as JSON. */
const asMessage = (data: unknown): Pick<ChatMessage, 'text' | 'author' | 'via'> => {
  const { text, author, via } = (typeof data === 'object' && data !== null ? data : { text: data }) as Partial<
    Record<keyof ChatMessage, unknown>
  >;
  return {
    text: (typeof text === 'string' ? text : JSON.stringify(data)).slice(0, MAX_TEXT),
    author: typeof author === 'string' ? author.slice(0, 64) : 'another client',
    via: typeof via === 'string' ? via.slice(0, 64) : '',
  };
};

/** Publishes a text to the group. Resolves with an error text, empty on success. */
export const send = async (text: string): Promise<string> => {
  const me = identity.value;
  if (!subscription || connectionState.value.is !== 'online' || me.is !== 'signed-in')
    return 'Not sent: not connected.';
  try {
    await subscription.publish({ text, author: me.name, via: connectionState.value.gateway });
    return '';
  } catch (error) {
    const { message = 'unknown error', code } = error as { message?: string; code?: number };
    return `Not sent: ${message}${code === undefined ? '' : ` (${code})`}.`;
  }
};
