import { createHash } from 'node:crypto';
import type { Logger } from '@muster/kit/logger';
import { readSessionCookies } from '@muster/session/cookie';
import { unsignForeign } from '@muster/session/token-foreign';
import type { Actor } from './ports.ts';
import type { SessionRecord } from './session.ts';
import type { Login, Sessions } from './sessions.ts';

/** The sessions of express-session, as connect-redis keeps them. */
export interface LegacyStore {
  /** The JSON of a session; undefined when there is none. */
  read(sid: string): Promise<string | undefined>;
  remove(sid: string): Promise<void>;
}

/** Turns sessions of express-session into ours, one at a time, when their holders come by. */
export interface LegacyImport {
  readonly cookieName: string;
  /** Undefined when the cookie is no session of theirs, or one that cannot be taken over. */
  adopt(request: LegacyRequest): Promise<{ session: SessionRecord; token: string } | undefined>;
}

/** What a request tells besides its cookie. */
export interface LegacyRequest {
  readonly cookieHeader: string | undefined;
  readonly client: Login['client'];
  readonly actor: Actor;
}

interface LegacyDeps {
  readonly log: Logger;
  readonly store: LegacyStore;
  readonly sessions: Pick<Sessions, 'open'>;
  readonly secrets: readonly string[];
  readonly cookieName: string;
  /** Where in their data the user's id is, such as `passport.user`. */
  readonly userField: string;
  readonly maxDataBytes: number;
}

/**
 * Every session is taken over once: the old one is removed, and requests that come at the same moment get the
 * same new session. What it held becomes the data of the new session.
 */
export const createLegacyImport = (deps: LegacyDeps): LegacyImport => ({
  cookieName: deps.cookieName,
  adopt: async ({ cookieHeader, client, actor }) => {
    for (const value of readSessionCookies(cookieHeader, deps.cookieName)) {
      const sid = unsignForeign(value, deps.secrets);
      const json = sid && (await deps.store.read(sid));
      const login = json && loginOf(deps, json);
      if (!sid || !login) continue;
      const opened = await deps.sessions.open({ ...login, client, ip: actor.ip }, actor, {
        caller: 'legacy',
        key: createHash('sha256').update(sid).digest('base64url'),
        requestHash: createHash('sha256').update(json).digest(),
      });
      if (!opened.ok) {
        deps.log.warn({ why: opened.why }, 'session.legacy-not-imported');
        continue;
      }
      await deps.store.remove(sid);
      return opened;
    }
    return undefined;
  },
});

/** The login that an old session stands for; undefined when it holds no object or too much. */
const loginOf = (
  { userField, maxDataBytes }: LegacyDeps,
  json: string,
): Omit<Login, 'client' | 'ip'> | undefined => {
  const found = parse(json);
  if (found === undefined) return undefined;
  const { cookie, ...data } = found;
  if (Buffer.byteLength(JSON.stringify(data)) > maxDataBytes) return undefined;
  const { originalMaxAge } = (cookie ?? {}) as { originalMaxAge?: unknown };
  return {
    tenant: 'default',
    userId: userOf(data, userField),
    policy: undefined,
    transport: 'cookie',
    remember: typeof originalMaxAge === 'number',
    label: null,
    country: null,
    auth: { time: undefined, aal: 1, amr: ['legacy'], idp: null, idpSid: null, idpSub: null },
    actor: null,
    data,
    grants: [],
  };
};

const MAX_USER_ID = 255;

const userOf = (data: object, path: string): string | null => {
  const value = path
    .split('.')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | null | undefined)?.[key], data);
  const text = typeof value === 'number' ? String(value) : value;
  return typeof text === 'string' && text.length > 0 && text.length <= MAX_USER_ID ? text : null;
};

const parse = (json: string): Record<string, unknown> | undefined => {
  // Neither NUL nor lone surrogates can be stored.
  if (json.includes('\\u0000') || !json.isWellFormed()) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject && JSON.stringify(value).isWellFormed() ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
};
