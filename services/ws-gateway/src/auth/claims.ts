import type { Payload } from '@muster/protocol/commands';
import { isTenantName } from '@muster/protocol/ids';
import type { ServerSubscription, SubscriptionOverride } from '../core/ports.ts';

/** Claims as they came, signed but not looked at. */
export type RawClaims = Readonly<Record<string, unknown>>;

/** What a token says about whoever connects with it. */
export interface ConnectionClaims {
  /** Undefined: that of the host at which it is shown. */
  readonly tenant?: string;
  /** Empty for an anonymous client. */
  readonly user: string;
  /** Milliseconds since the Unix epoch; infinite where the token sets no end. */
  readonly expiresAt: number;
  readonly info?: Payload;
  readonly meta?: Payload;
  readonly subs?: ReadonlyMap<string, ServerSubscription>;
}

/** What a token says about one subscription. */
export interface SubscriptionClaims {
  /** Undefined: that of the connection that shows it. */
  readonly tenant?: string;
  /** Undefined where the token is for a client rather than for a user. */
  readonly user: string | undefined;
  readonly client: string | undefined;
  readonly group: string;
  readonly terms: ServerSubscription;
}

/** Groups that one token may name. */
const MAX_GROUPS = 1_000;

class BadClaim extends Error {}

/** The claims `tenant sub exp expire_at info b64info meta channels subs`; undefined when one of them is not what it should be. */
export const readConnectionClaims = (claims: RawClaims): ConnectionClaims | undefined =>
  orUndefined(() => {
    // A permit for one group is no pass for the door.
    if (claims['channel'] !== undefined) throw new BadClaim();
    const meta = claims['meta'];
    if (meta !== undefined && !isObject(meta)) throw new BadClaim();
    const subs = subsOf(claims);
    return {
      ...tenantOf(claims),
      user: textOf(claims, 'sub') ?? '',
      expiresAt: endOf(claims) ?? Number.POSITIVE_INFINITY,
      ...infoOf(claims),
      ...(meta === undefined ? {} : { meta: JSON.stringify(meta) }),
      ...(subs.size === 0 ? {} : { subs }),
    };
  });

/** The claims `tenant sub client channel exp expire_at info b64info override`; undefined when one of them is not what it should be. */
export const readSubscriptionClaims = (claims: RawClaims): SubscriptionClaims | undefined =>
  orUndefined(() => {
    const group = textOf(claims, 'channel');
    if (group === undefined || group === '') throw new BadClaim();
    const client = textOf(claims, 'client');
    const user = textOf(claims, 'sub');
    const expiresAt = endOf(claims);
    return {
      ...tenantOf(claims),
      group,
      client,
      // Who names nobody means anonymous clients, not everybody.
      user: user ?? (client === undefined ? '' : undefined),
      terms: { ...termsOf(claims), ...(expiresAt === undefined ? {} : { expiresAt }) },
    };
  });

/** The terms `info b64info data b64data override expire_at` of a subscription; undefined when one of them is not what it should be. */
export const readTerms = (source: RawClaims): ServerSubscription | undefined =>
  orUndefined(() => fullTermsOf(source));

const orUndefined = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    if (error instanceof BadClaim) return undefined;
    throw error;
  }
};

const subsOf = (claims: RawClaims): Map<string, ServerSubscription> => {
  const found = new Map<string, ServerSubscription>();
  const channels = claims['channels'] ?? [];
  if (!Array.isArray(channels)) throw new BadClaim();
  for (const name of channels) {
    if (typeof name !== 'string') throw new BadClaim();
    found.set(name, {});
  }
  const subs = claims['subs'] ?? {};
  if (!isObject(subs)) throw new BadClaim();
  for (const [name, terms] of Object.entries(subs)) {
    if (!isObject(terms)) throw new BadClaim();
    found.set(name, fullTermsOf(terms));
  }
  if (found.size > MAX_GROUPS) throw new BadClaim();
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

/** Parts that all descriptions of subscriptions have: `info b64info override`. Throws when they are of a wrong kind. */
const termsOf = (source: RawClaims): Pick<ServerSubscription, 'info' | 'override'> => {
  const override = source['override'] ?? undefined;
  if (override !== undefined && !isObject(override)) throw new BadClaim();
  return { ...infoOf(source), ...(override === undefined ? {} : { override: overrideOf(override) }) };
};

const OVERRIDES = [
  ['presence', 'presence'],
  ['join_leave', 'joinLeave'],
  ['force_push_join_leave', 'forcePushJoinLeave'],
  ['force_recovery', 'forceRecovery'],
  ['force_positioning', 'forcePositioning'],
] as const;

/** `{"presence": {"value": true}, …}`. */
const overrideOf = (given: RawClaims): SubscriptionOverride =>
  Object.fromEntries(
    OVERRIDES.flatMap(([name, key]) => {
      const one = given[name] ?? undefined;
      if (one === undefined) return [];
      if (!isObject(one) || typeof one['value'] !== 'boolean') throw new BadClaim();
      return [[key, one['value']]];
    }),
  );

const infoOf = (source: RawClaims): { info?: Payload } => payloadOf(source, 'info');

/** JSON as `name`, or bytes that are JSON as base64 in `b64name`. */
const payloadOf = <N extends 'info' | 'data'>(source: RawClaims, name: N): { [K in N]?: Payload } => {
  const plain = source[name] ?? undefined;
  const encoded = source[`b64${name}`] ?? undefined;
  if (encoded === undefined)
    return (plain === undefined ? {} : { [name]: JSON.stringify(plain) }) as { [K in N]?: Payload };
  if (typeof encoded !== 'string') throw new BadClaim();
  return { [name]: jsonOf(Buffer.from(encoded, 'base64').toString()) } as { [K in N]?: Payload };
};

const jsonOf = (text: string): Payload => {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    throw new BadClaim();
  }
};

/** When it ends, in ms since the Unix epoch: `expire_at` if it says so (0 for never), else `exp`. */
const endOf = (claims: RawClaims): number | undefined => {
  const at = secondsOf(claims, 'expire_at') ?? secondsOf(claims, 'exp');
  return at === undefined || at === 0 ? undefined : at * 1000;
};

const secondsOf = (source: RawClaims, name: string): number | undefined => {
  const value = source[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw new BadClaim();
  return value;
};

const tenantOf = (claims: RawClaims): { readonly tenant?: string } => {
  const tenant = textOf(claims, 'tenant');
  if (tenant === undefined) return {};
  if (!isTenantName(tenant)) throw new BadClaim();
  return { tenant };
};

const textOf = (source: RawClaims, name: string): string | undefined => {
  const value = source[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new BadClaim();
  return value;
};

const isObject = (value: unknown): value is RawClaims =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
