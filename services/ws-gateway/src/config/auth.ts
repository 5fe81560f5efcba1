import { field, isPlaceholderSecret } from '@muster/kit/config';
import { ceiling } from '@muster/kit/config-limits';
import { z } from 'zod';
import { hmacKey, type JwtKey, MIN_HMAC_BYTES, publicKeys } from '../auth/jwt-keys.ts';
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
    .describe(`where the application is asked about ${what}; default: it is not`);

/** Variables about tokens of the application, clients without any, and callbacks. */
export const accessSettings = {
  TOKEN_HMAC_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe(
      'secret of tokens of the application: 32 bytes for HS256, 48 for HS384, 64 for HS512; read again on SIGHUP',
    ),
  TOKEN_HMAC_PREVIOUS_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe('the secret before that, while it is being replaced; read again on SIGHUP'),
  TOKEN_PUBLIC_KEYS: pem()
    .optional()
    .describe(
      'public keys of such tokens in PEM, one after the other: RSA, EC or Ed25519; read again on SIGHUP',
    ),
  TOKEN_JWKS_URL: field
    .url('http', 'https')
    .optional()
    .describe('where such keys are published (RFC 7517); https in production'),
  TOKEN_AUDIENCE: field
    .list()
    .describe('one of these must be in `aud` of a token; default: `aud` is not looked at'),
  TOKEN_ISSUER: z.string().optional().describe('must be `iss` of a token; default: `iss` is not looked at'),
  ALLOW_ANONYMOUS: field
    .onOff('off')
    .describe('clients may come without any credential, and with tokens that name no user'),
  CLIENT_INSECURE: field
    .onOff('off')
    .describe(
      'every client may do everything, without a credential too; for development, refused in production',
    ),
  CALLBACK_SUBSCRIBE_URL: callbackUrl('subscriptions, in groups with `subscribe_callback`'),
  CALLBACK_PUBLISH_URL: callbackUrl('publications of clients, in groups with `publish_callback`'),
  CALLBACK_RPC_URL: callbackUrl('calls (`rpc`)'),
  CALLBACK_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe('signs what the application is asked, at least 32 bytes; required with a callback'),
  CALLBACK_TIMEOUT_MS: field.ms(1_000, { min: 10, max: 60_000 }).describe('longest wait for the application'),
  CALLBACK_MAX_IN_FLIGHT: field
    .count(256, { min: 1, max: 10_000 })
    .describe('questions to the application at once; more are answered with a temporary error')
    .meta(ceiling('questions under way', 'error 100', 'gateway_callbacks_total{outcome="too_many"}', 'AQ10')),
};

/** How clients without a session come in, and what the application is asked. */
export interface AccessConfig {
  readonly tokens: JwtRules;
  readonly jwksUrl: string | undefined;
  readonly allowsAnonymous: boolean;
  readonly isInsecure: boolean;
  readonly callbacks: {
    readonly urls: Readonly<Partial<Record<CallbackKind, string>>>;
    /** Empty only where there are no URLs. */
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

/** What is wrong with these variables beside each by itself. */
export const accessProblems = (parsed: Parsed, isProduction: boolean): string[] => {
  const problems: string[] = [];
  const { callbacks, isInsecure, jwksUrl } = accessConfig(parsed);
  if (parsed.TOKEN_HMAC_PREVIOUS_SECRET !== undefined && parsed.TOKEN_HMAC_SECRET === undefined)
    problems.push('TOKEN_HMAC_PREVIOUS_SECRET: needs a TOKEN_HMAC_SECRET that it came before');
  if (Object.keys(callbacks.urls).length > 0 && callbacks.secret === '')
    problems.push('CALLBACK_SECRET: is required, so that the application can tell who asks');
  if (!isProduction) return problems;
  if (isInsecure)
    problems.push(
      'CLIENT_INSECURE: lifts every permission check and is refused in production; leave it out, or set NODE_ENV=development on a machine of your own',
    );
  if (jwksUrl !== undefined && !jwksUrl.startsWith('https://'))
    problems.push('TOKEN_JWKS_URL: must be https in production, or anybody on the way could sign tokens');
  for (const name of ['TOKEN_HMAC_SECRET', 'TOKEN_HMAC_PREVIOUS_SECRET', 'CALLBACK_SECRET'] as const) {
    if (isPlaceholderSecret(parsed[name] ?? 'no secret, no problem'))
      problems.push(`${name}: an example value is refused in production`);
  }
  return problems;
};

/** Options of groups that ask the application where it has no address. */
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
      ? [`GROUPS_FILE: ${name}: subscribe_callback needs CALLBACK_SUBSCRIBE_URL`]
      : []),
    ...(publishCallback && urls.publish === undefined
      ? [`GROUPS_FILE: ${name}: publish_callback needs CALLBACK_PUBLISH_URL`]
      : []),
  ]);
};
