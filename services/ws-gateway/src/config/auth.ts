import { field, isPlaceholderSecret } from '@muster/kit/config';
import { ceiling } from '@muster/kit/config-limits';
import type { JwtKey } from '@muster/kit/jwt';
import { z } from 'zod';
import { hmacKey, MIN_HMAC_BYTES, publicKeys } from '../auth/jwt-keys.ts';
import type { JwtRules } from '../auth/jwt-verifier.ts';
import type { CallbackKind } from '../core/callbacks.ts';
import type { NamespaceTable } from '../core/namespaces.ts';

const pem = () =>
  z.string().transform((text, context): readonly JwtKey[] => {
    try {
      return publicKeys(text);
    } catch (error) {
      context.addIssue((error as Error).message);
      return z.NEVER;
    }
  });

const callbackUrl = (what: string) =>
  field
    .url('http', 'https')
    .optional()
    .describe(`URL of the application's callback for ${what}; default: no callback`);

/** Variables of application tokens, anonymous clients and callbacks. */
export const accessSettings = {
  TOKEN_HMAC_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe(
      'HMAC secret of application tokens: 32 bytes for HS256, 48 for HS384, 64 for HS512; reloaded on SIGHUP',
    ),
  TOKEN_HMAC_PREVIOUS_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe('previous HMAC secret, during a rotation; reloaded on SIGHUP'),
  TOKEN_PUBLIC_KEYS: pem()
    .optional()
    .describe('public keys of application tokens, concatenated PEM: RSA, EC or Ed25519; reloaded on SIGHUP'),
  TOKEN_JWKS_URL: field
    .url('http', 'https')
    .optional()
    .describe('JWKS URL of public keys of application tokens (RFC 7517); https in production'),
  TOKEN_AUDIENCE: field
    .list()
    .describe('accepted `aud` claims of application tokens; default: `aud` is not checked'),
  TOKEN_ISSUER: z
    .string()
    .optional()
    .describe('required `iss` claim of application tokens; default: `iss` is not checked'),
  ALLOW_ANONYMOUS: field
    .onOff('off')
    .describe('accepts clients without a credential, and tokens without `sub`'),
  CLIENT_INSECURE: field
    .onOff('off')
    .describe(
      'grants every client all permissions, without a credential too; for development, rejected in production',
    ),
  CALLBACK_SUBSCRIBE_URL: callbackUrl('subscriptions, in groups with `subscribe_callback`'),
  CALLBACK_PUBLISH_URL: callbackUrl('publications of clients, in groups with `publish_callback`'),
  CALLBACK_RPC_URL: callbackUrl('`rpc` commands'),
  CALLBACK_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe('HMAC secret of callback requests, at least 32 bytes; required with a callback'),
  CALLBACK_TIMEOUT_MS: field.ms(1_000, { min: 10, max: 60_000 }).describe('timeout of a callback'),
  CALLBACK_MAX_IN_FLIGHT: field
    .count(256, { min: 1, max: 10_000 })
    .describe('concurrent callbacks; further ones fail with a temporary error')
    .meta(
      ceiling('concurrent callbacks', 'error 100', 'gateway_callbacks_total{outcome="too_many"}', 'AQ10'),
    ),
};

/** Authentication of clients without a session, and callbacks of the application. */
export interface AccessConfig {
  readonly tokens: JwtRules;
  readonly jwksUrl: string | undefined;
  readonly allowsAnonymous: boolean;
  readonly isInsecure: boolean;
  readonly callbacks: {
    readonly urls: Readonly<Partial<Record<CallbackKind, string>>>;
    /** Empty only without URLs. */
    readonly secret: string;
    readonly timeoutMs: number;
    readonly maxInFlight: number;
  };
}

type Parsed = z.output<z.ZodObject<typeof accessSettings>>;

/** {@link accessSettings}, parsed. */
export const accessConfig = (parsed: Parsed): AccessConfig => {
  const secrets = [parsed.TOKEN_HMAC_SECRET, parsed.TOKEN_HMAC_PREVIOUS_SECRET];
  const urls: [CallbackKind, string | undefined][] = [
    ['subscribe', parsed.CALLBACK_SUBSCRIBE_URL],
    ['publish', parsed.CALLBACK_PUBLISH_URL],
    ['rpc', parsed.CALLBACK_RPC_URL],
  ];
  return {
    tokens: {
      keys: [
        ...secrets.flatMap((secret) => (secret === undefined ? [] : [hmacKey(secret)])),
        ...(parsed.TOKEN_PUBLIC_KEYS ?? []),
      ],
      audience: parsed.TOKEN_AUDIENCE,
      issuer: parsed.TOKEN_ISSUER,
    },
    jwksUrl: parsed.TOKEN_JWKS_URL,
    allowsAnonymous: parsed.ALLOW_ANONYMOUS,
    isInsecure: parsed.CLIENT_INSECURE,
    callbacks: {
      urls: Object.fromEntries(urls.filter(([, url]) => url !== undefined)),
      secret: parsed.CALLBACK_SECRET ?? '',
      timeoutMs: parsed.CALLBACK_TIMEOUT_MS,
      maxInFlight: parsed.CALLBACK_MAX_IN_FLIGHT,
    },
  };
};

/** Problems of combinations of these variables. */
export const accessProblems = (parsed: Parsed, isProduction: boolean): string[] => {
  const problems: string[] = [];
  const { callbacks, isInsecure, jwksUrl } = accessConfig(parsed);
  if (parsed.TOKEN_HMAC_PREVIOUS_SECRET !== undefined && parsed.TOKEN_HMAC_SECRET === undefined)
    problems.push('TOKEN_HMAC_PREVIOUS_SECRET: requires TOKEN_HMAC_SECRET');
  if (Object.keys(callbacks.urls).length > 0 && callbacks.secret === '')
    problems.push(
      'CALLBACK_SECRET: required with a callback URL, so that the application can verify requests',
    );
  if (!isProduction) return problems;
  if (isInsecure)
    problems.push(
      'CLIENT_INSECURE: disables every permission check and is rejected in production. Remove it, or set NODE_ENV=development',
    );
  if (jwksUrl !== undefined && !jwksUrl.startsWith('https://'))
    problems.push(
      'TOKEN_JWKS_URL: expected an https URL in production, so that keys cannot be replaced in transit',
    );
  for (const name of ['TOKEN_HMAC_SECRET', 'TOKEN_HMAC_PREVIOUS_SECRET', 'CALLBACK_SECRET'] as const) {
    if (isPlaceholderSecret(parsed[name] ?? 'no secret, no problem'))
      problems.push(`${name}: an example value is rejected in production. Generate a secret`);
  }
  return problems;
};

/** Problems of group options that require a callback URL. */
export const callbackProblems = (
  groups: NamespaceTable | undefined,
  { urls }: AccessConfig['callbacks'],
): string[] => {
  if (groups === undefined) return [];
  const all: [string, NamespaceTable['withoutNamespace']][] = [
    ['without_namespace', groups.withoutNamespace],
    ...groups.namespaces,
  ];
  return all.flatMap(([name, { subscribeCallback, publishCallback }]) => [
    ...(subscribeCallback && urls.subscribe === undefined
      ? [`GROUPS_FILE: ${name}: subscribe_callback requires CALLBACK_SUBSCRIBE_URL`]
      : []),
    ...(publishCallback && urls.publish === undefined
      ? [`GROUPS_FILE: ${name}: publish_callback requires CALLBACK_PUBLISH_URL`]
      : []),
  ]);
};
