import { type Route, route } from '@muster/http/route';
import type { z } from 'zod';
import type { Scope } from '../core/api-keys.ts';
import type { HttpContext } from './context.ts';
import { type ServiceCaller, serviceGuard } from './service-guard.ts';
import { type UserCaller, type UserGuardOptions, userGuard } from './session-guard.ts';

type NoObject = z.ZodObject<Record<never, never>>;
type Options<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType, A> = Omit<
  Parameters<typeof route<P, Q, B, A>>[0],
  'guard' | 'security'
>;

/** Responses of every route. */
export const COMMON_RESPONSES = {
  422: { description: 'The request is not valid.' },
  503: { description: 'A store is unavailable. Retry later.' },
};
/** Responses of every route that requires a session. */
export const USER_RESPONSES = {
  401: { description: 'No session, or one that has ended.' },
  ...COMMON_RESPONSES,
};
export const USER_SECURITY = ['sessionCookie', 'sessionBearer'] as const;
/** Response to a request that a page of another site sent. */
export const FOREIGN_PAGE = { 403: { description: 'The request comes from a page of another site.' } };

/** A route for back ends: requires an API key with the scope. */
export const serviceRoute = <
  P extends z.ZodObject = NoObject,
  Q extends z.ZodObject = NoObject,
  B extends z.ZodType = z.ZodUndefined,
>(
  context: HttpContext,
  scope: Scope,
  options: Options<P, Q, B, ServiceCaller>,
): Route =>
  route<P, Q, B, ServiceCaller>({
    tags: ['service'],
    security: ['serviceKey'],
    guard: serviceGuard(context, scope),
    ...options,
    responses: {
      401: { description: 'No API key, or an unknown or revoked one.' },
      403: { description: `The key lacks the scope ${scope}, or may not use the tenant or the groups.` },
      ...COMMON_RESPONSES,
      ...options.responses,
    },
  });

/** A route for users: requires a session; all methods but GET also a page of our own origins. */
export const userRoute = <
  P extends z.ZodObject = NoObject,
  Q extends z.ZodObject = NoObject,
  B extends z.ZodType = z.ZodUndefined,
>(
  context: HttpContext,
  { impersonated, ...options }: Options<P, Q, B, UserCaller> & Pick<UserGuardOptions, 'impersonated'>,
): Route => {
  const unsafe = options.method !== 'get';
  return route<P, Q, B, UserCaller>({
    tags: ['user'],
    security: USER_SECURITY,
    guard: userGuard(context, { unsafe, ...(impersonated === undefined ? {} : { impersonated }) }),
    ...(options as Options<P, Q, B, UserCaller>),
    responses: { ...USER_RESPONSES, ...(unsafe ? FOREIGN_PAGE : {}), ...options.responses },
  });
};
