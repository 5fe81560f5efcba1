import { type Route, type RouteReply, route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { checkOrigin } from '../core/csrf.ts';
import { isIp } from '../core/ip.ts';
import type { IdTokenFault } from '../core/oidc-ports.ts';
import type { ExchangeRequest } from '../core/token-exchange.ts';
import { MAX_USER_AGENT, summarizeUserAgent } from '../core/user-agent.ts';
import type { HttpContext, IdentityContext } from './context.ts';
import { anonymousIdempotencyOf, idempotencyOf } from './idempotency.ts';
import { sessionCreatedSchema } from './schemas.ts';
import { type ServiceCaller, serviceGuard } from './service-guard.ts';
import { actorOf } from './session-guard.ts';
import { sessionCreatedReply } from './session-response.ts';

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type';
const KINDS = { [`${TOKEN_TYPE}:id_token`]: 'id_token', [`${TOKEN_TYPE}:jwt`]: 'jwt' } as const;
const MAX_TOKEN = 16_384;

const text = (max: number) => z.string().min(1).max(max);

/** Flat, so that a form can say it too. */
const exchangeBody = z.strictObject({
  grant_type: z.literal(GRANT_TYPE),
  subject_token: text(MAX_TOKEN),
  subject_token_type: z.enum([`${TOKEN_TYPE}:id_token`, `${TOKEN_TYPE}:jwt`]),
  requested_token_type: z.literal(`${TOKEN_TYPE}:access_token`).optional(),
  nonce: text(512).optional(),
  transport: z.enum(['cookie', 'bearer']).default('bearer'),
  remember: z
    .union([z.boolean(), z.enum(['true', 'false'])])
    .transform((said) => said === true || said === 'true')
    .default(true),
  label: z.string().trim().min(1).max(100).optional(),
  device_id: text(128).optional(),
  client_kind: z
    .string()
    .regex(/^[\w-]{1,32}$/)
    .default('web'),
  ip: z.string().refine(isIp, 'Input should be an IP address').optional(),
  user_agent: text(MAX_USER_AGENT).optional(),
});
type ExchangeBody = z.output<typeof exchangeBody>;

const exchangedSchema = sessionCreatedSchema.extend({
  access_token: z.string().optional(),
  issued_token_type: z.string().optional(),
  token_type: z.string().optional(),
  expires_in: z.int().optional(),
});

/** Routes for those who prove a login, or its end, by the word of a trusted issuer. */
export const identityRoutes = (context: HttpContext): Route[] => [
  tokenExchange(context),
  backchannelLogout(context),
];

const tokenExchange = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/token-exchange',
    summary: 'Open a session for a token of a trusted issuer (RFC 8693)',
    description:
      'The token is the credential, and good for one session; with an `Idempotency-Key` header the same request answers the same session and token. A back end may send its API key along: then `ip` and `user_agent` are those of its user.',
    tags: ['identity'],
    security: ['serviceKey', 'nothing'],
    body: exchangeBody,
    forms: 'also',
    guard: (req, res) => exchangeGuard(context, req, res),
    responses: {
      200: {
        description: 'The session, with its token (bearer) or its cookie, and the members of RFC 8693.',
        schema: exchangedSchema,
      },
      401: { description: 'The token proves nothing, or was used before; or the API key is wrong.' },
      403: { description: 'The request comes from a page of another site, or the key may not do this.' },
      404: { description: 'No issuers are configured.' },
      409: { description: 'The user has too many sessions, or is disabled.' },
      415: { description: 'The body is neither JSON nor a form.' },
      422: { description: 'The body is not valid.' },
      429: { description: 'Too many bad tokens from this address.' },
      503: { description: 'Cannot be decided just now; try again with the same token.' },
    },
    handle: async ({ auth, body, req }) => {
      const exchanged = await auth.identity.exchange(requestOf(context, body, auth.caller, req));
      if (exchanged.ok)
        return withOauthMembers(sessionCreatedReply(context, exchanged), context, body.transport);
      switch (exchanged.why) {
        case 'disabled':
        case 'limit':
        case 'key_reused':
        case 'rotated':
          return sessionCreatedReply(context, exchanged);
        case 'tenant':
          throw new AppError('INSUFFICIENT_SCOPE', { detail: 'This API key belongs to another tenant.' });
        default:
          context.limits.badCredential('key', req);
          throw new AppError('INVALID_TOKEN', {
            detail: REASONS[exchanged.why],
            extra: { error: 'invalid_request', reason: exchanged.why },
          });
      }
    },
  });

interface ExchangeCaller {
  readonly identity: IdentityContext;
  readonly caller: ServiceCaller | undefined;
}

const requireIdentity = ({ identity }: HttpContext): IdentityContext => {
  if (identity === undefined) throw new AppError('NOT_FOUND', { detail: 'No issuers are configured here.' });
  return identity;
};

const exchangeGuard = async (context: HttpContext, req: Request, res: Response): Promise<ExchangeCaller> => {
  const identity = requireIdentity(context);
  if (req.headers.authorization !== undefined) {
    return { identity, caller: await serviceGuard(context, 'sessions:create')(req, res) };
  }
  // A foreign page must not sign its visitors in as somebody.
  const origin = checkOrigin(
    { secFetchSite: req.get('sec-fetch-site'), origin: req.get('origin') },
    context.config.allowedOrigins,
  );
  if (origin === 'foreign') {
    throw new AppError('CSRF', { detail: 'This request comes from a page of another site.' });
  }
  return { identity, caller: undefined };
};

const requestOf = (
  context: HttpContext,
  body: ExchangeBody,
  caller: ServiceCaller | undefined,
  req: Request,
): ExchangeRequest => {
  if (caller === undefined) refuseForeignFacts(body);
  const userAgent =
    body.user_agent ??
    (caller === undefined ? req.headers['user-agent']?.slice(0, MAX_USER_AGENT) : undefined) ??
    null;
  const ip = context.addresses.anonymize(caller === undefined ? req.ip : body.ip);
  return {
    token: body.subject_token,
    kind: KINDS[body.subject_token_type],
    nonce: body.nonce,
    tenant: caller?.tenant ?? null,
    from: actorOf(context, 'idp', req),
    caller: caller?.actor,
    idempotency: caller ? idempotencyOf(caller, req, body) : anonymousIdempotencyOf('exchange', req, body),
    login: {
      transport: body.transport,
      remember: body.remember,
      label: body.label ?? null,
      client: {
        kind: body.client_kind,
        summary: summarizeUserAgent(userAgent),
        userAgent,
        deviceId: body.device_id ?? null,
      },
      ip,
    },
  };
};

/** Where a request comes from is for us to see, unless a back end speaks for its user. */
const refuseForeignFacts = (body: ExchangeBody): void => {
  const failures = (['ip', 'user_agent'] as const)
    .filter((name) => body[name] !== undefined)
    .map((name) => ({
      loc: ['body', name],
      msg: 'Only a back end with an API key may say this',
      type: 'extra_forbidden',
    }));
  if (failures.length > 0) throw new ValidationFailure(failures);
};

const withOauthMembers = (
  { headers, body }: RouteReply,
  { clock }: HttpContext,
  transport: ExchangeBody['transport'],
): RouteReply => {
  const { Location: _, ...kept } = headers ?? {};
  if (transport === 'cookie') return { status: 200, headers: kept, body };
  const { token, expires_at } = body as { token: string; expires_at: string };
  return {
    status: 200,
    headers: kept,
    body: {
      ...(body as object),
      access_token: token,
      issued_token_type: `${TOKEN_TYPE}:access_token`,
      token_type: 'Bearer',
      expires_in: Math.max(0, Math.floor((Date.parse(expires_at) - clock.now()) / 1000)),
    },
  };
};

const backchannelLogout = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/oidc/backchannel-logout',
    summary: 'End the sessions of a login that is over at its issuer',
    description: 'OpenID Connect Back-Channel Logout 1.0, as the issuer calls it.',
    tags: ['identity'],
    // The specification knows one answer to whatever is wrong with the token, its absence included: 400.
    body: z.object({ logout_token: z.string().max(MAX_TOKEN).default('') }),
    forms: 'only',
    guard: () => requireIdentity(context),
    responses: {
      200: { description: 'No session of that login lives any more.' },
      400: { description: 'The logout token is not valid, or was used before.' },
      404: { description: 'No issuers are configured.' },
      415: { description: 'The body is not a form.' },
      422: { description: 'The body is not valid.' },
      429: { description: 'Too many bad tokens from this address.' },
      503: { description: 'Cannot be decided just now; try again with the same token.' },
    },
    handle: async ({ auth, body, req }) => {
      const done = await auth.logout(body.logout_token, actorOf(context, 'idp', req));
      if (done.ok) return { status: 200 };
      context.limits.badCredential('key', req);
      throw new AppError('MALFORMED_REQUEST', {
        detail: REASONS[done.why],
        extra: { error: 'invalid_request', reason: done.why },
      });
    },
  });

const REASONS: Readonly<Record<IdTokenFault, string>> = {
  malformed: 'This is not a signed token.',
  unknown_issuer: 'The issuer of this token is not one of ours.',
  type: 'This is another kind of token.',
  algorithm: 'This algorithm is not accepted.',
  unknown_key: 'The issuer has no such key.',
  signature: 'The signature is wrong.',
  issuer: 'The issuer of this token is not one of ours.',
  audience: 'This token was made for somebody else.',
  expired: 'This token is too old.',
  not_yet: 'This token is not valid yet.',
  claims: 'The claims of this token are missing, or not what they should be.',
  nonce: 'The nonce is another one.',
  replayed: 'This token was used before.',
  logged_out: 'This login is over at its issuer.',
};
