import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { isReservedName } from '@muster/kit/reserved-names';
import { readSessionCookies, unsignExpressSessionCookie } from '@muster/session/cookie';
import { MAX_CREDENTIALS_TRIED } from '@muster/session/credential';
import type { Actor } from './core/ports.ts';
import type { SessionRecord } from './core/session.ts';
import type { Login, SessionService } from './core/sessions.ts';
import { orUnavailable } from './redis-errors.ts';

/** The sessions of express-session, as connect-redis keeps them. */
export interface LegacyStore {
  /** Undefined when there is none, and none was handed over within the last minute. */
  read(sid: string): Promise<LegacySession | undefined>;
  /** It is ours now: the old one goes, and its content is remembered for a minute. */
  markImported(sid: string, json: string): Promise<void>;
}

/** An old session as it was found. */
export interface LegacySession {
  readonly json: string;
  readonly isImported: boolean;
}

/** Turns sessions of express-session into ours, one at a time, when their holders come by. */
export interface LegacyImport {
  readonly cookieName: string;
  /** Undefined when the cookie is no session of theirs, or one that cannot be taken over. */
  importSession(request: LegacyRequest): Promise<{ session: SessionRecord; token: string } | undefined>;
}

/** What a request tells besides its cookie. */
export interface LegacyRequest {
  readonly cookieHeader: string | undefined;
  readonly client: Login['client'];
  readonly actor: Actor;
}

interface LegacyDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: LegacyStore;
  readonly sessions: Pick<SessionService, 'open'>;
  readonly secrets: readonly string[];
  readonly cookieName: string;
  /** Where in their data the user's id is, such as `passport.user`. */
  readonly userField: string;
  readonly maxDataBytes: number;
  readonly onImport: (result: 'imported' | 'again' | 'refused') => void;
}

/**
 * Every session is taken over once: the old one is removed, and requests that come at the same moment, or within
 * a minute, get the same new session. What it held becomes the data of the new session.
 */
export const createLegacyImport = (deps: LegacyDeps): LegacyImport => ({
  cookieName: deps.cookieName,
  importSession: async (request) => {
    const signed = readSessionCookies(request.cookieHeader, deps.cookieName)
      .map((value) => unsignExpressSessionCookie(value, deps.secrets))
      .filter((sid) => sid !== undefined);
    for (const sid of signed.slice(0, MAX_CREDENTIALS_TRIED)) {
      const found = await deps.store.read(sid);
      const adopted = found && (await takeOver(deps, sid, found, request));
      if (adopted) return adopted;
    }
    return undefined;
  },
});

const takeOver = async (
  deps: LegacyDeps,
  sid: string,
  { json, isImported: isHandedOver }: LegacySession,
  { client, actor }: LegacyRequest,
): Promise<{ session: SessionRecord; token: string } | undefined> => {
  const login = loginOf(deps, json);
  if (login === undefined) return refuse(deps, 'content');
  const hash = createHash('sha256').update(sid);
  const opened = await deps.sessions.open({ ...login, client, ip: actor.ip }, actor, {
    caller: 'legacy',
    key: hash.copy().digest('base64url'),
    // The old application may write the session between two of our looks; it is the same session all the same.
    requestHash: hash.digest(),
  });
  if (!opened.ok) return refuse(deps, opened.why);
  if (!isHandedOver) await deps.store.markImported(sid, json);
  deps.onImport(opened.isReplay ? 'again' : 'imported');
  return opened;
};

const refuse = ({ log, onImport }: LegacyDeps, why: string): undefined => {
  log.debug({ why }, 'session.legacy_import_failed');
  onImport('refused');
};

/** The login that an old session stands for; undefined when it holds no object or too much. */
const loginOf = (
  { clock, userField, maxDataBytes }: LegacyDeps,
  json: string,
): Omit<Login, 'client' | 'ip'> | undefined => {
  const found = parse(json);
  if (found === undefined) return undefined;
  const { cookie, ...data } = found;
  if (Buffer.byteLength(JSON.stringify(data)) > maxDataBytes) return undefined;
  const { originalMaxAge, expires } = (cookie ?? {}) as { originalMaxAge?: unknown; expires?: unknown };
  if (typeof expires === 'string' && Date.parse(expires) <= clock.now()) return undefined;
  const userId = userOf(data, userField);
  return {
    tenant: 'default',
    userId,
    policy: undefined,
    transport: 'cookie',
    remember: typeof originalMaxAge === 'number',
    label: null,
    country: null,
    auth: { ...LOGIN, aal: userId === null ? 0 : 1 },
    actor: null,
    data,
    grants: [],
  };
};

/** When it was is unknown: so long ago that whoever asks for a recent login asks for a new one. */
const LOGIN = { time: 0, amr: ['legacy'], idp: null, idpSid: null, idpSub: null };
const MAX_USER_ID = 255;

const userOf = (data: object, path: string): string | null => {
  const value = path
    .split('.')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | null | undefined)?.[key], data);
  const text = typeof value === 'number' ? String(value) : value;
  return typeof text === 'string' && text.length > 0 && text.length <= MAX_USER_ID ? text : null;
};

const parse = (json: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(json, keepable);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
};

/** Neither NUL nor lone surrogates can be stored, in names as in values, nor may a name reach a prototype. */
const keepable = (name: string, value: unknown): unknown => {
  if (isReservedName(name)) throw new TypeError('a name that cannot be kept');
  for (const text of typeof value === 'string' ? [name, value] : [name]) {
    if (text.includes('\0') || !text.isWellFormed()) throw new TypeError('text that cannot be kept');
  }
  return value;
};

/** A browser sends several requests at once; those still on their way carry the old cookie. */
const HANDED_OVER_MS = 60_000;

/** The sessions of connect-redis in our Redis, under the prefix of that application. */
export const createLegacyStore = (redis: RedisConnections, prefix: string): LegacyStore => {
  const markOf = (sid: string): string =>
    `${redis.prefix}im:{${createHash('sha256').update(sid).digest('base64url')}}`;
  return {
    read: (sid) =>
      orUnavailable(async () => {
        const [old, handedOver] = await redis.retry((lane) =>
          Promise.all([lane.get(prefix + sid), lane.get(markOf(sid))]),
        );
        const json = handedOver ?? old;
        return json === null ? undefined : { json, isImported: handedOver !== null };
      }),
    markImported: (sid, json) =>
      orUnavailable(async () => {
        await redis.retry((lane) => lane.set(markOf(sid), json, 'PX', HANDED_OVER_MS));
        await redis.retry((lane) => lane.del(prefix + sid));
      }),
  };
};
