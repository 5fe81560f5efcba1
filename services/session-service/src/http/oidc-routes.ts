import { type Route, type RouteReply, route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { z } from 'zod';
import type { IdTokenFault } from '../core/oidc-ports.ts';
import type { ExchangeRequest } from '../core/token-exchange.ts';
import { MAX_USER_AGENT, summarizeUserAgent } from '../core/user-agent.ts';
import { COMMON_RESPONSES } from './authenticated-routes.ts';
import type { HttpContext, IdentityContext } from './context.ts';
import { anonymousIdempotencyOf, idempotencyOf } from './idempotency.ts';
import { actorOf, refuseForeignPage, userAgentOf } from './request.ts';
import { clientKind, ipAddress, label, sessionCreatedSchema, text, transport } from './schemas.ts';
import { type ServiceCaller, serviceGuard } from './service-guard.ts';
import { sessionCreatedReply } from './session-response.ts';

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type';
const KINDS = { [`${TOKEN_TYPE}:id_token`]: 'id_token', [`${TOKEN_TYPE}:jwt`]: 'jwt' } as const;
const MAX_TOKEN = 16_384;

/** Without nested objects, so that a form can carry it. */
const exchangeBody = z.strictObject({
  grant_type: z.literal(GRANT_TYPE),
  subject_token: text(MAX_TOKEN),
  subject_token_type: z.enum([`${TOKEN_TYPE}:id_token`, `${TOKEN_TYPE}:jwt`]),
  requested_token_type: z.literal(`${TOKEN_TYPE}:access_token`).optional(),
  nonce: text(512).optional(),
  transport: transport.default('bearer'),
  remember: z
    .union([z.boolean(), z.enum(['true', 'false'])])
    .transform((value) => value === true || value === 'true')
    .default(true),
  label: label.optional(),
  device_id: text(128).optional(),
  client_kind: clientKind,
  ip: ipAddress.optional(),
  user_agent: text(MAX_USER_AGENT).optional(),
});
type ExchangeBody = z.output<typeof exchangeBody>;

const exchangedSchema = sessionCreatedSchema.extend({
  access_token: z.string().optional(),
  issued_token_type: z.string().optional(),
  token_type: z.string().optional(),
  expires_in: z.int().optional(),
});

/** Routes for tokens of configured issuers. */
export const oidcRoutes = (context: HttpContext): Route[] => [tokenExchange(context), backchannelLogout(context)];

const tokenExchange = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/token-exchange',
    summary: 'Open a session for a token of a configured issuer (RFC 8693)',
    description:
      'The token is the credential and is valid for one session; with an `Idempotency-Key` header, repeats return the same session and token. A back end may send its API key; then `ip` and `user_agent` are those of its user.',
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
      401: { description: 'The token is invalid or was used before, or the API key is invalid.' },
      403: { description: 'The request comes from a page of another site, or the key lacks the scope.' },
      404: { description: 'No issuers are configured.' },
      409: { description: 'The user has reached the session limit, or is disabled.' },
      415: { description: 'The body is neither JSON nor a form.' },
      429: { description: 'Too many invalid tokens from this address.' },
      ...COMMON_RESPONSES,
    },
    handle: async ({ auth, body, req }) => {
      const exchanged = await auth.identity.exchange(requestOf(context, body, auth.caller, req));
      if (exchanged.ok) {
        return withOauthMembers(sessionCreatedReply(context, exchanged), context, body.transport);
      }
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
          throw new AppError('INVALID_TOKEN', rejectionOf(exchanged.why));
      }
    },
  });

interface ExchangeCaller {
  readonly identity: IdentityContext;
  readonly caller: ServiceCaller | undefined;
}

const requireIdentity = ({ identity }: HttpContext): IdentityContext => {
  if (identity === undefined) {
    throw new AppError('NOT_FOUND', { detail: 'No issuers are configured. Set OIDC_ISSUERS.' });
  }
  return identity;
};

const exchangeGuard = async (context: HttpContext, req: Request, res: Response): Promise<ExchangeCaller> => {
  const identity = requireIdentity(context);
  if (req.headers.authorization !== undefined) {
    return { identity, caller: await serviceGuard(context, 'sessions:create')(req, res) };
  }
  refuseForeignPage(context, req);
  return { identity, caller: undefined };
};

const requestOf = (
  context: HttpContext,
  body: ExchangeBody,
  caller: ServiceCaller | undefined,
  req: Request,
): ExchangeRequest => {
  if (caller === undefined) refuseClientFacts(body);
  const userAgent = body.user_agent ?? (caller === undefined ? userAgentOf(req) : null);
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
      ip: context.addresses.anonymize(caller === undefined ? req.ip : body.ip),
    },
  };
};

/** Address and user agent are taken from the request, unless a back end calls for its user. */
const refuseClientFacts = (body: ExchangeBody): void => {
  const failures = (['ip', 'user_agent'] as const)
    .filter((name) => body[name] !== undefined)
    .map((name) => ({
      loc: ['body', name],
      msg: 'Only a back end with an API key may send this',
      type: 'extra_forbidden',
    }));
  if (failures.length > 0) throw new ValidationFailure(failures);
};

const withOauthMembers = (
  { headers, body }: RouteReply,
  { clock }: HttpContext,
  carrier: ExchangeBody['transport'],
): RouteReply => {
  const { Location: _, ...kept } = headers ?? {};
  if (carrier === 'cookie') return { status: 200, headers: kept, body };
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
    summary: 'End the sessions of a login that has ended at its issuer',
    description: 'OpenID Connect Back-Channel Logout 1.0, called by the issuer.',
    tags: ['identity'],
    // The specification requires 400 for every invalid token, also for a missing one.
    body: z.object({ logout_token: z.string().max(MAX_TOKEN).default('') }),
    forms: 'only',
    guard: () => requireIdentity(context),
    responses: {
      200: { description: 'All sessions of the login have ended.' },
      400: { description: 'The logout token is invalid, or was used before.' },
      404: { description: 'No issuers are configured.' },
      415: { description: 'The body is not a form.' },
      429: { description: 'Too many invalid tokens from this address.' },
      ...COMMON_RESPONSES,
    },
    handle: async ({ auth, body, req }) => {
      const result = await auth.logout(body.logout_token, actorOf(context, 'idp', req));
      if (result.ok) return { status: 200 };
      context.limits.badCredential('key', req);
      throw new AppError('MALFORMED_REQUEST', rejectionOf(result.why));
    },
  });

const rejectionOf = (fault: IdTokenFault) => ({
  detail: DETAILS[fault],
  extra: { error: 'invalid_request', reason: fault },
});

const DETAILS: Readonly<Record<IdTokenFault, string>> = {
  malformed: 'The token is not a signed JWT.',
  unknown_issuer: 'The issuer of the token is not configured.',
  issuer: 'The issuer of the token does not match.',
  type: 'The token has another type.',
  algorithm: 'The algorithm of the token is not accepted.',
  unknown_key: 'The issuer does not publish the key of the token.',
  signature: 'The signature of the token is invalid.',
  audience: 'The token was issued for another audience.',
  expired: 'The token has expired.',
  not_yet: 'The token is not valid yet.',
  claims: 'Claims of the token are missing or invalid.',
  nonce: 'The nonce of the token does not match.',
  replayed: 'The token was used before.',
  logged_out: 'The login has ended at its issuer.',
};
