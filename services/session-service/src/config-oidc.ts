import { ASYMMETRIC_ALGORITHMS } from '@muster/kit/jwt';
import { z } from 'zod';
import type { IssuerRules } from './core/oidc-ports.ts';

/** A trusted OpenID Connect issuer. */
export interface IssuerConfig extends IssuerRules {
  /** Accepted client ids; a token must be issued for one of them. */
  readonly audience: readonly string[];
  /** Undefined: read from OpenID Connect Discovery. */
  readonly jwksUri: string | undefined;
  readonly algorithms: readonly string[];
}

const httpUrl = z.url({ protocol: /^https?$/, error: 'expected an http(s) URL' }).max(255);

const issuerSchema = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,31}$/, 'expected 1 to 32 of a-z, 0-9, _ and -'),
    issuer: httpUrl,
    audience: z.array(z.string().min(1)).min(1),
    jwks_uri: httpUrl.optional(),
    algorithms: z
      .array(z.enum(ASYMMETRIC_ALGORITHMS))
      .min(1)
      .default([...ASYMMETRIC_ALGORITHMS]),
    user_id_claim: z.string().min(1).default('sub'),
    user_id_prefix: z.string().max(64).optional(),
    tenant: z
      .string()
      .regex(/^[\w.-]{1,64}$/)
      .default('default'),
  })
  .transform(
    ({ jwks_uri: jwksUri, user_id_claim: userIdClaim, user_id_prefix, ...one }): IssuerConfig => ({
      ...one,
      jwksUri,
      userIdClaim,
      userIdPrefix: user_id_prefix ?? `${one.name}|`,
    }),
  );

const issuersSchema = z
  .array(issuerSchema)
  .max(32)
  .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'two issuers have one name')
  .refine((all) => new Set(all.map(({ issuer }) => issuer)).size === all.length, 'an issuer comes twice');

/** The variable `OIDC_ISSUERS`: JSON that is validated; problems have their position, without values. */
export const issuersField = (): z.ZodType<readonly IssuerConfig[], string | undefined> =>
  z
    .string()
    .transform((text, context): readonly IssuerConfig[] => {
      const parsed = issuersSchema.safeParse(jsonOf(text));
      if (parsed.success) return parsed.data;
      for (const issue of parsed.error.issues) {
        context.addIssue(`${issue.path.length === 0 ? '' : `${issue.path.join('.')}: `}${issue.message}`);
      }
      return z.NEVER;
    })
    .default([]);

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** Problems of issuers in production: the JWKS must be fetched over https. */
export const issuerProblems = (issuers: readonly IssuerConfig[]): string[] =>
  issuers
    .filter(({ issuer, jwksUri }) => [issuer, jwksUri ?? issuer].some((url) => !url.startsWith('https://')))
    .map(({ name }) => `OIDC_ISSUERS: ${name}: https URLs are required in production`);
