import type { SettingValues } from '@muster/kit/config';
import { ceiling, field, placeholderProblems } from '@muster/kit/config-fields';
import { defined } from '@muster/kit/defined';
import type { JwtKey } from '@muster/kit/jwt';
import { z } from 'zod';
import { hmacKey, MIN_HMAC_BYTES, publicKeys } from '../auth/jwt-keys.ts';
import type { JwtRules } from '../auth/jwt-verifier.ts';
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
  field.url('http', 'https').optional().describe(`URL of the application's callback for ${what}; default: no callback`);

/** Variables of application tokens, anonymous clients and callbacks. */
export const accessSettings = {
  TOKEN_HMAC_SECRET: field
    .secret({ min: MIN_HMAC_BYTES })
    .optional()
    .describe('HMAC secret of application tokens: 32 bytes for HS256, 48 for HS384, 64 for HS512; reloaded on SIGHUP'),
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
  TOKEN_AUDIENCE: field.list().describe('accepted `aud` claims of application tokens; default: `aud` is not checked'),
  TOKEN_ISSUER: z
    .string()
    .optional()
    .describe('required `iss` claim of application tokens; default: `iss` is not checked'),
  ALLOW_ANONYMOUS: field.onOff('off').describe('accepts clients without a credential, and tokens without `sub`'),
  CLIENT_INSECURE: field
    .onOff('off')
    .describe('grants every client all permissions, without a credential too; for development, rejected in production'),
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
    .describe('concurrent callbacks; further callbacks fail with a temporary error')
    .meta(ceiling('concurrent callbacks', 'error 100', 'gateway_callbacks_total{outcome="too_many"}', 'AQ10')),
};

/** {@link accessSettings} as keys, rules and callbacks. */
export type AccessConfig = ReturnType<typeof accessConfig>;
export const accessConfig = (values: SettingValues<typeof accessSettings>) => {
  const { tokenHmacSecret, tokenHmacPreviousSecret, tokenPublicKeys = [] } = values;
  const hmacKeys = [tokenHmacSecret, tokenHmacPreviousSecret].filter((secret) => secret !== undefined);
  const tokens: JwtRules = {
    keys: [...hmacKeys.map(hmacKey), ...tokenPublicKeys],
    audience: values.tokenAudience,
    issuer: values.tokenIssuer,
  };
  return {
    tokens,
    jwksUrl: values.tokenJwksUrl,
    allowsAnonymous: values.allowAnonymous,
    isInsecure: values.clientInsecure,
    callbacks: {
      urls: defined({
        subscribe: values.callbackSubscribeUrl,
        publish: values.callbackPublishUrl,
        rpc: values.callbackRpcUrl,
      }),
      /** Empty only without URLs. */
      secret: values.callbackSecret ?? '',
      timeoutMs: values.callbackTimeoutMs,
      maxInFlight: values.callbackMaxInFlight,
    },
  };
};

/** Problems of combinations of these variables. */
export const accessProblems = (values: SettingValues<typeof accessSettings>, isProduction: boolean): string[] => {
  const problems: string[] = [];
  const { callbacks, isInsecure, jwksUrl } = accessConfig(values);
  if (values.tokenHmacPreviousSecret !== undefined && values.tokenHmacSecret === undefined)
    problems.push('TOKEN_HMAC_PREVIOUS_SECRET: requires TOKEN_HMAC_SECRET');
  if (Object.keys(callbacks.urls).length > 0 && callbacks.secret === '')
    problems.push('CALLBACK_SECRET: required with a callback URL, so that the application can verify requests');
  if (!isProduction) return problems;
  if (isInsecure)
    problems.push(
      'CLIENT_INSECURE: disables every permission check and is rejected in production. Remove it, or set NODE_ENV=development',
    );
  if (jwksUrl !== undefined && !jwksUrl.startsWith('https://'))
    problems.push('TOKEN_JWKS_URL: expected an https URL in production, so that keys cannot be replaced in transit');
  return [
    ...problems,
    ...placeholderProblems({
      TOKEN_HMAC_SECRET: [values.tokenHmacSecret],
      TOKEN_HMAC_PREVIOUS_SECRET: [values.tokenHmacPreviousSecret],
      CALLBACK_SECRET: [values.callbackSecret],
    }),
  ];
};

/** Problems of group options that require a callback URL. */
export const callbackProblems = (groups: NamespaceTable | undefined, { urls }: AccessConfig['callbacks']): string[] => {
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
