import { type Call, createSender, type HttpOptions, type HttpResponse, type Send } from './http.ts';
import { uuidSegment } from './paths.ts';
import type {
  CookieReceiver,
  CreateOptions,
  EndedSessions,
  NewSession,
  OpenedSession,
  Page,
  Session,
  SessionUpgrade,
  TokenExchange,
} from './session-types.ts';

/** Requests of a session's own client. An id that is not a UUID rejects with a TypeError before any request. */
export interface MySessions {
  /**
   * The session of this client. Rejects with `no-session`, `invalid-token` or `session-ended` without a live session.
   */
  current(): Promise<Session>;
  /** Signs this client out. Resolves also when it was out already. */
  signOut(): Promise<EndedSessions>;
  /** Every session of the same user, newest first; pages are fetched on demand. */
  list(options?: { readonly state?: 'live' | 'ended' | 'all'; readonly pageSize?: number }): AsyncGenerator<Session>;
  /** Signs another device out. */
  end(id: string): Promise<EndedSessions>;
  /** Signs every other device out; answers how many. */
  endOthers(): Promise<number>;
  /** Ends every session of the user, including this session; resolves with their number. */
  endAll(): Promise<number>;
}

/** Requests of a back end. An id that is not a UUID rejects with a TypeError before any request. */
export interface Sessions {
  /**
   * Signs a user in whom the back end has authenticated. Each call creates one session, however often it is sent; give
   * `idempotencyKey` where the application repeats the call itself.
   */
  create(session: NewSession, options?: CreateOptions): Promise<OpenedSession>;
  /** Turns a guest's session into that of a user who has signed in; the client gets the new token. */
  upgrade(id: string, upgrade: SessionUpgrade, options?: CreateOptions): Promise<OpenedSession>;
  /** A session by its id; undefined when there is none. */
  get(id: string): Promise<Session | undefined>;
  /** Ends a session: its sockets are closed on every gateway. Resolves also when it had ended already. */
  end(id: string): Promise<EndedSessions>;
}

/**
 * Sessions for a back end that holds a service API key. Every call rejects with {@link MusterError}.
 * Never give the key to a browser.
 */
export const createSessions = (options: HttpOptions & { readonly apiKey: string }): Sessions => {
  const send = createSender(options, { headers: { authorization: `Bearer ${options.apiKey}` } });
  const opened = async (
    path: string,
    body: object,
    { idempotencyKey, res }: CreateOptions = {},
  ): Promise<OpenedSession> =>
    openedFrom(await send<OpenedSession>({ method: 'POST', path, body, idempotencyKey: idempotencyKey ?? true }), res);
  return {
    create: async (session, options) => opened('/v1/sessions', session, options),
    upgrade: async (id, upgrade, options) => opened(`${sessionPath(id)}/upgrade`, upgrade, options),
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
    end: async (id) => ended(send, { method: 'DELETE', path: `/v1/me/sessions/${uuidSegment('session id', id)}` }),
    endOthers: () => endMany({ except: 'current' }),
    endAll: () => endMany({ all: true }),
  };
};

/** A guest session for a client that keeps its token itself. Only where the service allows guests. */
export const createGuest = async (options: HttpOptions & { readonly label?: string }): Promise<OpenedSession> => {
  const send = createSender(options, { headers: {} });
  const label = options.label === undefined ? {} : { label: options.label };
  const { body } = await send<OpenedSession>({
    ...{ method: 'POST', path: '/v1/guest-sessions', body: { transport: 'bearer', ...label } },
    idempotencyKey: true,
  });
  return body;
};

/** A session for a token of a trusted issuer (RFC 8693), made by the client itself or by a back end with its key. */
export const exchangeToken = async (
  options: HttpOptions & { readonly apiKey?: string },
  { token, tokenType = 'id_token', ...more }: TokenExchange,
): Promise<OpenedSession> => {
  const headers = options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` };
  const send = createSender(options, { headers });
  const body = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: token,
    subject_token_type: `urn:ietf:params:oauth:token-type:${tokenType}`,
    ...more,
  };
  const call = { method: 'POST', path: '/v1/token-exchange', body, idempotencyKey: true } as const;
  return openedFrom(await send<OpenedSession>(call), undefined);
};

/** With transport "cookie" the token is only in `Set-Cookie`. */
const openedFrom = ({ body, headers }: HttpResponse<OpenedSession>, res: CookieReceiver | undefined): OpenedSession => {
  const cookies = headers.getSetCookie();
  if (cookies.length === 0) return body;
  res?.appendHeader('Set-Cookie', cookies);
  return { ...body, setCookie: cookies };
};

const sessionPath = (id: string): string => `/v1/sessions/${uuidSegment('session id', id)}`;

/** 204: done everywhere. 202: committed, and on its way. */
const ended = async (send: Send, call: Call): Promise<EndedSessions> => {
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
