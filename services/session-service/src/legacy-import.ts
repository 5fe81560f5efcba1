import { createHash } from 'node:crypto';
import { isReservedName } from '@muster/http/validation';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { readSessionCookies, unsignExpressSessionCookie } from '@muster/session/cookie';
import { MAX_CREDENTIALS_TRIED } from '@muster/session/credential';
import type { Actor } from './core/ports.ts';
import type { SessionRecord } from './core/session-record.ts';
import type { Login, SessionService } from './core/session-service.ts';
import { orUnavailable } from './redis-errors.ts';

/** The sessions of express-session that connect-redis stores. */
interface LegacyStore {
  /** Undefined for an unknown session that was not imported within the last minute. */
  read(sid: string): Promise<LegacySession | undefined>;
  /** Deletes an imported session and keeps its content for one minute. */
  markImported(sid: string, json: string): Promise<void>;
}

/** A session of express-session. */
interface LegacySession {
  readonly json: string;
  readonly isImported: boolean;
}

/** The import of sessions of express-session, one at a time, when their cookies are presented. */
export type LegacyImport = ReturnType<typeof createLegacyImport>;

interface LegacyRequest {
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
  /** Path of the user id in the data, such as `passport.user`. */
  readonly userField: string;
  readonly maxDataBytes: number;
  readonly onImport: (result: 'imported' | 'again' | 'refused') => void;
}

/**
 * Imports every session once: the legacy session is deleted, and concurrent requests, or those within one minute, get
 * the same new session. The content of the legacy session becomes the data of the new session.
 */
export const createLegacyImport = (deps: LegacyDeps) => ({
  cookieName: deps.cookieName,
  /** Undefined when the cookies are not sessions of express-session, or cannot be imported. */
  importSession: async (request: LegacyRequest): Promise<{ session: SessionRecord; token: string } | undefined> => {
    const signed = readSessionCookies(request.cookieHeader, deps.cookieName)
      .map((value) => unsignExpressSessionCookie(value, deps.secrets))
      .filter((sid) => sid !== undefined);
    for (const sid of signed.slice(0, MAX_CREDENTIALS_TRIED)) {
      const found = await deps.store.read(sid);
      const imported = found && (await openImported(deps, sid, found, request));
      if (imported) return imported;
    }
    return undefined;
  },
});

const openImported = async (
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
    // The application may write the session between two requests; it is the same session for the replay.
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

/** The login of an old session; undefined when its content is not an object, too large or expired. */
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

/** The time of the login is unknown: 1970, so that a check of its age requires a new login. */
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
    const value: unknown = JSON.parse(json, requireStorable);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
};

/** Rejects NUL, lone surrogates and reserved names: they cannot be stored or would reach a prototype. */
const requireStorable = (name: string, value: unknown): unknown => {
  if (isReservedName(name)) throw new TypeError('a reserved name');
  for (const text of typeof value === 'string' ? [name, value] : [name]) {
    if (text.includes('\0') || !text.isWellFormed()) throw new TypeError('text that cannot be stored');
  }
  return value;
};

/** Concurrent requests of a browser still carry the old cookie. */
const IMPORTED_MS = 60_000;

/** The sessions of connect-redis in the same Redis, under the prefix of the application. */
export const createLegacyStore = (redis: RedisConnections, prefix: string): LegacyStore => {
  const markerOf = (sid: string): string =>
    `${redis.prefix}im:{${createHash('sha256').update(sid).digest('base64url')}}`;
  return {
    read: (sid) =>
      orUnavailable(async () => {
        const [current, imported] = await redis.retry((lane) =>
          Promise.all([lane.get(prefix + sid), lane.get(markerOf(sid))]),
        );
        const json = imported ?? current;
        return json === null ? undefined : { json, isImported: imported !== null };
      }),
    markImported: (sid, json) =>
      orUnavailable(async () => {
        await redis.retry((lane) => lane.set(markerOf(sid), json, 'PX', IMPORTED_MS));
        await redis.retry((lane) => lane.del(prefix + sid));
      }),
  };
};
