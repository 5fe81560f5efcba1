import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { readBearer } from '@muster/session/credential';
import { coversGroups, type SessionGrant } from '@muster/session/grants';
import type { SessionId } from '@muster/session/token';
import type { Request, Response } from 'express';
import type { KeyHolder, Scope } from '../core/api-keys.ts';
import type { Actor } from '../core/ports.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './request.ts';

/** A caller with an API key. */
export interface ServiceCaller extends Omit<KeyHolder, 'id'> {
  readonly actor: Actor;
  /** Throws `INVALID_KEY` if the key was revoked meanwhile; for long polls. */
  requireStillValid(): Promise<void>;
}

/** The guard of routes for back ends. Throws `INVALID_KEY`, `INSUFFICIENT_SCOPE` and `RATE_LIMITED`. */
export const serviceGuard =
  (context: HttpContext, scope: Scope) =>
  async (req: Request, res: Response): Promise<ServiceCaller> => {
    const { apiKeys, limits } = context;
    const key = readBearer(req.headers.authorization);
    // Unknown keys of an address with many failures are queued; known keys are not affected.
    const holder = key === undefined ? undefined : await apiKeys.holderOf(key, limits.isThrottled(req));
    if (holder === undefined) {
      limits.badCredential('key', req);
      throw new AppError('INVALID_KEY', { detail: 'Send a valid API key as a bearer token.' });
    }
    limits.caller('key', holder.id, res);
    if (!holder.scopes.includes(scope)) {
      throw new AppError('INSUFFICIENT_SCOPE', { detail: `This requires the scope ${scope}.` });
    }
    return {
      actor: actorOf(context, `key:${holder.id}`, req),
      tenant: holder.tenant,
      scopes: holder.scopes,
      groups: holder.groups,
      requireStillValid: async () => {
        if (key === undefined || (await apiKeys.holderOf(key)) === undefined) {
          throw new AppError('INVALID_KEY', { detail: 'This API key was revoked.' });
        }
      },
    };
  };

/** True if the session belongs to a tenant of the key. */
export const isVisible = (caller: ServiceCaller, session: { tenant: string }): boolean =>
  caller.tenant === null || caller.tenant === session.tenant;

/** Throws `NOT_FOUND` for a session of another tenant. */
export const requireVisible = async (
  { sessions }: HttpContext,
  caller: ServiceCaller,
  id: SessionId,
): Promise<void> => {
  if (caller.tenant === null) return;
  const session = await sessions.find(id);
  if (session === undefined || !isVisible(caller, session)) throw new AppError('NOT_FOUND');
};

/** Throws `INSUFFICIENT_SCOPE` unless the key may grant all of these groups. */
export const requireGroups = ({ groups }: Pick<ServiceCaller, 'groups'>, requested: readonly string[]): void => {
  const excess = groups === null ? undefined : requested.find((group) => !coversGroups(groups, group));
  if (excess === undefined) return;
  throw new AppError('INSUFFICIENT_SCOPE', {
    detail: `This API key may grant ${groups?.join(', ')} only, not ${excess}.`,
  });
};

/** Throws `INSUFFICIENT_SCOPE` unless the key may give these grants. */
export const requireGrantable = (caller: Pick<ServiceCaller, 'groups'>, grants: readonly SessionGrant[] = []): void =>
  requireGroups(
    caller,
    grants.map(({ groups }) => groups),
  );

/** Throws `INSUFFICIENT_SCOPE` for a session with other grants: a new token would carry them. */
export const requireGrantableSession = async (
  { sessions }: HttpContext,
  caller: ServiceCaller,
  id: SessionId,
): Promise<void> => {
  if (caller.groups === null) return;
  requireGrantable(caller, (await sessions.find(id))?.grants);
};

/** The requested tenant, else that of the key. Throws `INSUFFICIENT_SCOPE` for another tenant. */
export const tenantFor = (caller: Pick<ServiceCaller, 'tenant'>, requested: string | undefined): string => {
  const tenant = requested ?? caller.tenant ?? DEFAULT_TENANT;
  if (caller.tenant !== null && caller.tenant !== tenant) {
    throw new AppError('INSUFFICIENT_SCOPE', { detail: 'This API key belongs to another tenant.' });
  }
  return tenant;
};
