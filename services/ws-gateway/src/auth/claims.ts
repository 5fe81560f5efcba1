import type { Payload } from '@muster/protocol/commands';
import { isTenantName } from '@muster/protocol/ids';
import type { ServerSubscription, SubscriptionOverride } from '../core/ports.ts';

/** Claims of a verified token, not yet validated. */
export type RawClaims = Readonly<Record<string, unknown>>;

/** Validated claims of a connection token. */
export interface ConnectionClaims {
  /** Undefined: the tenant of the host. */
  readonly tenant?: string;
  /** Empty for an anonymous client. */
  readonly user: string;
  /** Milliseconds since the Unix epoch; infinite without an expiry. */
  readonly expiresAt: number;
  readonly info?: Payload;
  readonly meta?: Payload;
  readonly subs?: ReadonlyMap<string, ServerSubscription>;
}

/** Validated claims of a subscription token. */
export interface SubscriptionClaims {
  /** Undefined: the tenant of the connection. */
  readonly tenant?: string;
  /** Undefined for a token of a client instead of a user. */
  readonly user: string | undefined;
  readonly client: string | undefined;
  readonly group: string;
  readonly terms: ServerSubscription;
}

/** Most groups of one token. */
const MAX_GROUPS = 1_000;

class InvalidClaim extends Error {}

/** Validates the claims `tenant sub exp expire_at info b64info meta channels subs`; undefined when one is invalid. */
export const readConnectionClaims = (claims: RawClaims): ConnectionClaims | undefined =>
  orUndefined(() => {
    // A subscription token does not authenticate a connection.
    if (claims['channel'] !== undefined) throw new InvalidClaim();
    const meta = claims['meta'];
    if (meta !== undefined && !isObject(meta)) throw new InvalidClaim();
    const subs = subsOf(claims);
    return {
      ...tenantOf(claims),
      user: textOf(claims, 'sub') ?? '',
      expiresAt: expiryOf(claims) ?? Number.POSITIVE_INFINITY,
      ...infoOf(claims),
      ...(meta === undefined ? {} : { meta: JSON.stringify(meta) }),
      ...(subs.size === 0 ? {} : { subs }),
    };
  });

/** Validates the claims `tenant sub client channel exp expire_at info b64info override`; undefined when one is invalid. */
export const readSubscriptionClaims = (claims: RawClaims): SubscriptionClaims | undefined =>
  orUndefined(() => {
    const group = textOf(claims, 'channel');
    if (group === undefined || group === '') throw new InvalidClaim();
    const client = textOf(claims, 'client');
    const user = textOf(claims, 'sub');
    const expiresAt = expiryOf(claims);
    return {
      ...tenantOf(claims),
      group,
      client,
      // Without `sub` and `client` the token is for anonymous clients, not for all.
      user: user ?? (client === undefined ? '' : undefined),
      terms: { ...termsOf(claims), ...(expiresAt === undefined ? {} : { expiresAt }) },
    };
  });

/** Validates the options `info b64info data b64data override expire_at` of a subscription; undefined when one is invalid. */
export const readTerms = (source: RawClaims): ServerSubscription | undefined => orUndefined(() => fullTermsOf(source));

const orUndefined = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidClaim) return undefined;
    throw error;
  }
};

const subsOf = (claims: RawClaims): Map<string, ServerSubscription> => {
  const found = new Map<string, ServerSubscription>();
  const channels = claims['channels'] ?? [];
  if (!Array.isArray(channels)) throw new InvalidClaim();
  for (const name of channels) {
    if (typeof name !== 'string') throw new InvalidClaim();
    found.set(name, {});
  }
  const subs = claims['subs'] ?? {};
  if (!isObject(subs)) throw new InvalidClaim();
  for (const [name, terms] of Object.entries(subs)) {
    if (!isObject(terms)) throw new InvalidClaim();
    found.set(name, fullTermsOf(terms));
  }
  if (found.size > MAX_GROUPS) throw new InvalidClaim();
  return found;
};

const fullTermsOf = (source: RawClaims): ServerSubscription => {
  const expiresAt = secondsOf(source, 'expire_at');
  return {
    ...termsOf(source),
    ...payloadOf(source, 'data'),
    ...(expiresAt === undefined || expiresAt === 0 ? {} : { expiresAt: expiresAt * 1000 }),
  };
};

/** Validates `info b64info override`, which all subscription options have. Throws {@link InvalidClaim}. */
const termsOf = (source: RawClaims): Pick<ServerSubscription, 'info' | 'override'> => {
  const override = source['override'] ?? undefined;
  if (override !== undefined && !isObject(override)) throw new InvalidClaim();
  return { ...infoOf(source), ...(override === undefined ? {} : { override: overrideOf(override) }) };
};

const OVERRIDES = [
  ['presence', 'presence'],
  ['join_leave', 'joinLeave'],
  ['force_push_join_leave', 'forcePushJoinLeave'],
  ['force_recovery', 'forceRecovery'],
  ['force_positioning', 'forcePositioning'],
] as const;

/** Validates `{"presence": {"value": true}, …}`. */
const overrideOf = (given: RawClaims): SubscriptionOverride =>
  Object.fromEntries(
    OVERRIDES.flatMap(([name, key]) => {
      const option = given[name] ?? undefined;
      if (option === undefined) return [];
      if (!isObject(option) || typeof option['value'] !== 'boolean') throw new InvalidClaim();
      return [[key, option['value']]];
    }),
  );

const infoOf = (source: RawClaims): { info?: Payload } => payloadOf(source, 'info');

/** JSON in `name`, or base64 of JSON text in `b64name`. */
const payloadOf = <N extends 'info' | 'data'>(source: RawClaims, name: N): { [K in N]?: Payload } => {
  const plain = source[name] ?? undefined;
  const encoded = source[`b64${name}`] ?? undefined;
  if (encoded === undefined)
    return (plain === undefined ? {} : { [name]: JSON.stringify(plain) }) as { [K in N]?: Payload };
  if (typeof encoded !== 'string') throw new InvalidClaim();
  return { [name]: jsonOf(Buffer.from(encoded, 'base64').toString()) } as { [K in N]?: Payload };
};

const jsonOf = (text: string): Payload => {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    throw new InvalidClaim();
  }
};

/** Expiry in ms since the Unix epoch: `expire_at` (0 for never), else `exp`. */
const expiryOf = (claims: RawClaims): number | undefined => {
  const at = secondsOf(claims, 'expire_at') ?? secondsOf(claims, 'exp');
  return at === undefined || at === 0 ? undefined : at * 1000;
};

const secondsOf = (source: RawClaims, name: string): number | undefined => {
  const value = source[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw new InvalidClaim();
  return value;
};

const tenantOf = (claims: RawClaims): { readonly tenant?: string } => {
  const tenant = textOf(claims, 'tenant');
  if (tenant === undefined) return {};
  if (!isTenantName(tenant)) throw new InvalidClaim();
  return { tenant };
};

const textOf = (source: RawClaims, name: string): string | undefined => {
  const value = source[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new InvalidClaim();
  return value;
};

const isObject = (value: unknown): value is RawClaims =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
