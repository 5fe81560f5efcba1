import { signal } from '@preact/signals';
import { Centrifuge, type PublicationContext, UnauthorizedError } from 'centrifuge';
import type { GroupAddress } from '../../core/operator-ports.ts';
import { requestAsOperator } from '../operator-api.ts';
import { groupPath } from './group-store.ts';

/** A line of the tail: a publication, or a notice of the page. */
export type TailLine =
  | { readonly key: number; readonly at: number; readonly is: 'notice'; readonly text: string }
  | {
      readonly key: number;
      readonly at: number;
      readonly is: 'publication';
      readonly offset: number | undefined;
      readonly user: string;
      readonly data: unknown;
    };

/** State of the tail. */
export type TailStatus =
  | { readonly is: 'off' }
  | { readonly is: 'connecting' }
  | { readonly is: 'on'; readonly gateway: string };

/** Where to connect, and as whom; see `POST /v1/operator/groups/:group/tail`. */
interface TailGrant {
  readonly url: string;
  readonly token: string;
}

const MAX_LINES = 200;

export const tailStatus = signal<TailStatus>({ is: 'off' });
export const tailLines = signal<readonly TailLine[]>([]);

let serial = 0;
let activeTail: { readonly stop: () => void } | undefined;

const addLine = (line: { is: 'notice'; text: string } | Omit<TailLine & { is: 'publication' }, 'key' | 'at'>): void => {
  serial += 1;
  tailLines.value = [...tailLines.value, { ...line, key: serial, at: Date.now() } as TailLine].slice(-MAX_LINES);
};
const addNotice = (text: string): void => addLine({ is: 'notice', text });

/** Stops the tail. */
export const stopTail = (): void => {
  activeTail?.stop();
  activeTail = undefined;
  tailStatus.value = { is: 'off' };
};

/** Removes all lines. */
export const clearTail = (): void => {
  tailLines.value = [];
};

/** Receives the publications of a group until stopped; reconnects when the connection is lost. */
export const startTail = (group: GroupAddress): void => {
  stopTail();
  const client = { close: (): void => {} };
  const mine = { stop: () => client.close() };
  activeTail = mine;
  tailStatus.value = { is: 'connecting' };
  void (async () => {
    const grant = await requestGrant(group);
    if (activeTail !== mine) return;
    if (!grant.ok) return refuse(grant.why);
    client.close = openTail(group, grant.data);
  })();
};

const requestGrant = (group: GroupAddress) =>
  requestAsOperator<TailGrant>(groupPath(group, '/tail'), { method: 'POST' });

const refuse = (why: string): void => {
  stopTail();
  if (why !== '') addNotice(why);
};

const openTail = (group: GroupAddress, { url, token }: TailGrant): (() => void) => {
  const address = new URL(url, location.href);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  const client = new Centrifuge(address.href, {
    ...{ token, name: 'muster-console-tail', minReconnectDelay: 300, maxReconnectDelay: 5_000 },
    // A token is valid for 60 s: the SDK fetches the next token in time.
    getToken: async () => {
      const next = await requestGrant(group);
      if (next.ok) return next.data.token;
      // An empty cause: the operator token is no longer valid. Everything else is retried.
      throw next.why === '' ? new UnauthorizedError('') : new Error(next.why);
    },
  });
  client.on('connected', ({ data }) => {
    const { gateway } = (data ?? {}) as { gateway?: unknown };
    tailStatus.value = { is: 'on', gateway: typeof gateway === 'string' ? gateway : 'a gateway' };
  });
  client.on('connecting', ({ code, reason }) => {
    tailStatus.value = { is: 'connecting' };
    if (code !== 0) addNotice(`The connection was lost (${reason}). Reconnecting; publications may be missing.`);
  });
  client.on('disconnected', ({ code, reason }) => {
    if (code !== 0) refuse(`The tail ended: ${reason} (${code}).`);
  });
  client.on('publication', (publication) => addLine(lineOf(publication)));
  client.connect();
  return () => {
    client.removeAllListeners();
    client.disconnect();
  };
};

const lineOf = ({ offset, info, data }: PublicationContext) => ({
  is: 'publication' as const,
  offset,
  user: info?.user ?? '',
  data: data as unknown,
});
