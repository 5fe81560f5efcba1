import { type Call, createSender, type HttpOptions, type Send } from './http.ts';
import { uuidSegment } from './paths.ts';
import type { Ended, NewSession, OpenedSession, Page, Session } from './session-types.ts';

/** What a session's own client may do. An id that is not a UUID rejects with a TypeError before any request. */
export interface MySessions {
  /** Who am I? Rejects with `no-session`, `invalid-token` or `session-ended` when I am nobody. */
  current(): Promise<Session>;
  /** Signs this client out. Resolves also when it was out already. */
  signOut(): Promise<Ended>;
  /** Every session of the same user, newest first, page by page as the loop goes on. */
  list(options?: {
    readonly state?: 'live' | 'ended' | 'all';
    readonly pageSize?: number;
  }): AsyncGenerator<Session>;
  /** Signs another device out. */
  end(id: string): Promise<Ended>;
  /** Signs every other device out; answers how many. */
  endOthers(): Promise<number>;
  /** Signs every device out, this one too; answers how many. */
  endAll(): Promise<number>;
}

/** What a back end may do. An id that is not a UUID rejects with a TypeError before any request. */
export interface Sessions {
  /** Signs somebody in, after the back end made sure who it is. With a key, a repeated call gives the same session. */
  create(session: NewSession, options?: { readonly idempotencyKey?: string }): Promise<OpenedSession>;
  /** A session by its id; undefined when there is none. */
  get(id: string): Promise<Session | undefined>;
  /** Ends a session: its sockets are closed on every gateway. Resolves also when it had ended already. */
  end(id: string): Promise<Ended>;
}

/**
 * Sessions for a back end that holds a service API key. Every call rejects with {@link MusterError}.
 * Never give the key to a browser.
 */
export const createSessions = (options: HttpOptions & { readonly apiKey: string }): Sessions => {
  const send = createSender(options, { headers: { authorization: `Bearer ${options.apiKey}` } });
  return {
    create: async (session, { idempotencyKey } = {}) => {
      const keyed = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey };
      const { body } = await send<OpenedSession>({
        ...{ method: 'POST', path: '/v1/sessions', body: session, headers: keyed },
        isSafeToRepeat: idempotencyKey !== undefined,
      });
      return body;
    },
    get: async (id) => {
      const path = sessionPath(id);
      try {
        return (await send<Session>({ method: 'GET', path })).body;
      } catch (error) {
        if ((error as { status?: number }).status === 404) return undefined;
        throw error;
      }
    },
    end: async (id) => ended(send, { method: 'DELETE', path: sessionPath(id) }),
  };
};

/**
 * A client's own sessions. In a browser leave `token` out: the session cookie goes along by itself, and never to
 * another origin. Elsewhere give the token that `create` or the guest endpoint answered.
 */
export const createMySessions = (options: HttpOptions & { readonly token?: string }): MySessions => {
  const send = createSender(
    options,
    options.token === undefined
      ? { headers: {}, credentials: 'same-origin' }
      : { headers: { authorization: `Bearer ${options.token}` }, credentials: 'omit' },
  );
  const endMany = async (query: { except: 'current' } | { all: true }): Promise<number> =>
    (await send<{ ended: number }>({ method: 'DELETE', path: '/v1/me/sessions', query })).body.ended;
  return {
    current: async () => (await send<Session>({ method: 'GET', path: '/v1/session' })).body,
    signOut: () => ended(send, { method: 'DELETE', path: '/v1/session' }),
    list: ({ state = 'live', pageSize = 50 } = {}) =>
      pages(
        (cursor) => ({
          ...{ method: 'GET', path: '/v1/me/sessions' },
          query: { state, limit: pageSize, cursor },
        }),
        send,
      ),
    end: async (id) =>
      ended(send, { method: 'DELETE', path: `/v1/me/sessions/${uuidSegment('session id', id)}` }),
    endOthers: () => endMany({ except: 'current' }),
    endAll: () => endMany({ all: true }),
  };
};

/** A guest session for a client that keeps its token itself. Only where the service allows guests. */
export const createGuest = async (
  options: HttpOptions & { readonly label?: string },
): Promise<OpenedSession> => {
  const send = createSender(options, { headers: {} });
  const label = options.label === undefined ? {} : { label: options.label };
  const { body } = await send<OpenedSession>({
    ...{ method: 'POST', path: '/v1/guest-sessions', body: { transport: 'bearer', ...label } },
  });
  return body;
};

const sessionPath = (id: string): string => `/v1/sessions/${uuidSegment('session id', id)}`;

/** 204: done everywhere. 202: committed, and on its way. */
const ended = async (send: Send, call: Call): Promise<Ended> => {
  const { status } = await send(call);
  return { propagation: status === 202 ? 'pending' : 'done' };
};

/** Follows the cursors of a list. */
async function* pages<T>(callAt: (cursor: string | undefined) => Call, send: Send): AsyncGenerator<T> {
  let cursor: string | undefined;
  do {
    const { body }: { body: Page<T> } = await send<Page<T>>(callAt(cursor));
    yield* body.items;
    cursor = body.next ?? undefined;
  } while (cursor !== undefined);
}
