import { signal } from '@preact/signals';
import { Centrifuge, type PublicationContext, type Subscription } from 'centrifuge';
import { clearIdentity, identity, loadIdentity } from './identity.ts';
import { tabToken } from './session-api.ts';

const MAX_MESSAGES = 200;
const MAX_TEXT = 2_000;
const RECHECK_MS = 5_000;
/** The codes with which a gateway says that the session behind a connection is over or no longer valid. */
const SESSION_ENDED_CODES: ReadonlySet<number> = new Set([3500, 4501]);

/** A line of the chat. */
export interface Message {
  readonly key: number;
  readonly text: string;
  readonly author: string;
  /** Instance name of the gateway its author was on, as the author's client said. */
  readonly via: string;
  readonly at: number;
  readonly isMine: boolean;
}

/** The state of this tab's connection. */
export type ConnectionState =
  | { readonly is: 'off' }
  | { readonly is: 'connecting'; readonly why: string }
  | { readonly is: 'online'; readonly gateway: string; readonly client: string }
  | { readonly is: 'refused'; readonly why: string };

export const connectionState = signal<ConnectionState>({ is: 'off' });
export const joinedGroup = signal('');
export const joinError = signal('');
export const messages = signal<readonly Message[]>([]);

let client: Centrifuge | undefined;
let subscription: Subscription | undefined;
let serial = 0;
let checkedAt = 0;

/** Connects as whoever this tab is now. */
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
  // A browser does not learn the status of a refused upgrade, so the session service is asked whether we still exist.
  next.on('error', () => void recheck());
  next.connect();
  if (joinedGroup.value) join(joinedGroup.value);
};

const recheck = async (): Promise<void> => {
  if (connectionState.value.is === 'online' || performance.now() - checkedAt < RECHECK_MS) return;
  checkedAt = performance.now();
  if (await loadIdentity()) return;
  disconnect();
  clearIdentity('This session is over: the session service no longer knows it.');
};

const handleDisconnect = (code: number, reason: string): void => {
  const where = connectionState.value.is === 'online' ? connectionState.value.gateway : '';
  if (code === 0) return;
  if (!SESSION_ENDED_CODES.has(code)) {
    connectionState.value = { is: 'refused', why: `${reason || 'closed'} (${code})` };
    return;
  }
  connectionState.value = { is: 'off' };
  const closer = where || 'The gateway';
  clearIdentity(`You were signed out. ${closer} closed this tab’s connection with ${code} “${reason}”.`);
};

/** Ends the connection of this tab, if there is one. */
export const disconnect = (): void => {
  subscription = undefined;
  client?.disconnect();
  client?.removeAllListeners();
  client = undefined;
  connectionState.value = { is: 'off' };
};

/** Leaves the group of before and joins this one. */
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
    if (code !== 0) joinError.value = `The gateway took this tab out of ${name}: ${reason} (${code}).`;
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

/** Other clients may send anything: a plain string is a text, an object may name its author, the rest is shown as JSON. */
const asMessage = (data: unknown): Pick<Message, 'text' | 'author' | 'via'> => {
  const { text, author, via } = (
    typeof data === 'object' && data !== null ? data : { text: data }
  ) as Partial<Record<keyof Message, unknown>>;
  return {
    text: (typeof text === 'string' ? text : JSON.stringify(data)).slice(0, MAX_TEXT),
    author: typeof author === 'string' ? author.slice(0, 64) : 'another client',
    via: typeof via === 'string' ? via.slice(0, 64) : '',
  };
};

/** Publishes a text to the group. Answers a sentence when it was not accepted. */
export const send = async (text: string): Promise<string> => {
  const me = identity.value;
  if (!subscription || connectionState.value.is !== 'online' || me.is !== 'somebody')
    return 'Not connected; nothing was sent.';
  try {
    await subscription.publish({ text, author: me.name, via: connectionState.value.gateway });
    return '';
  } catch (error) {
    const { message = 'unknown error', code } = error as { message?: string; code?: number };
    return `Not sent: ${message}${code === undefined ? '' : ` (${code})`}.`;
  }
};
