import { AppError } from '@muster/protocol/errors';
import { readBearer } from '@muster/session/credential';
import type { SessionGrant } from '@muster/session/grants';
import { coversGroups } from '@muster/session/grants';
import type { SessionId } from '@muster/session/token';
import type { Request, Response } from 'express';
import type { Scope } from '../core/api-keys.ts';
import type { Actor } from '../core/ports.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './session-guard.ts';

/** A back end with an API key. */
export interface ServiceCaller {
  readonly actor: Actor;
  /** The only tenant this key may touch; null for all. */
  readonly tenant: string | null;
  readonly scopes: readonly Scope[];
  /** Groups, or prefixes ending in `*`, that its grants may name; null for all. */
  readonly groups: readonly string[] | null;
  /** Throws `INVALID_KEY` when the key was revoked since; for answers that take their time. */
  requireStillValid(): Promise<void>;
}

/** The guard of routes for back ends. Throws `INVALID_KEY` and `INSUFFICIENT_SCOPE`. */
export const serviceGuard =
  (context: HttpContext, scope: Scope) =>
  async (req: Request, res: Response): Promise<ServiceCaller> => {
    const { apiKeys, limits } = context;
    const key = readBearer(req.headers.authorization);
    // An address with many failures waits for its turn at Postgres; a key that is known is not affected.
    const holder = key === undefined ? undefined : await apiKeys.holderOf(key, limits.isThrottled(req));
    if (holder === undefined) {
      limits.badCredential('key', req);
      throw new AppError('INVALID_KEY', { detail: 'Send a valid API key as a bearer token.' });
    }
    limits.caller('key', holder.id, res);
    if (!holder.scopes.includes(scope)) {
      throw new AppError('INSUFFICIENT_SCOPE', { detail: `This needs the scope ${scope}.` });
    }
    return {
      actor: actorOf(context, `key:${holder.id}`, req),
      tenant: holder.tenant,
      scopes: holder.scopes,
      groups: holder.groups,
      requireStillValid: async () => {
        if (key === undefined || (await apiKeys.holderOf(key)) === undefined) throw revoked();
      },
    };
  };

const revoked = (): AppError => new AppError('INVALID_KEY', { detail: 'This API key was revoked.' });

/** True if a back end may know of this session. */
export const isVisible = (caller: ServiceCaller, session: { tenant: string }): boolean =>
  caller.tenant === null || caller.tenant === session.tenant;

/** Throws `NOT_FOUND` for the session of another tenant, as if there were none. */
export const requireVisible = async (
  { sessions }: HttpContext,
  caller: ServiceCaller,
  id: SessionId,
): Promise<void> => {
  if (caller.tenant === null) return;
  const session = await sessions.find(id);
  if (session === undefined || !isVisible(caller, session)) throw new AppError('NOT_FOUND');
};

/** Throws `INSUFFICIENT_SCOPE` unless the key may give all of these. */
export const requireGroups = ({ groups }: ServiceCaller, wanted: readonly string[]): void => {
  const wide = groups === null ? undefined : wanted.find((one) => !coversGroups(groups, one));
  if (wide === undefined) return;
  throw new AppError('INSUFFICIENT_SCOPE', {
    detail: `This API key gives grants for ${groups?.join(', ')} only, not for ${wide}.`,
  });
};

/** The same for the groups of grants. */
export const requireGrantable = (caller: ServiceCaller, grants: readonly SessionGrant[] = []): void =>
  requireGroups(
    caller,
    grants.map(({ groups }) => groups),
  );

/** Throws `INSUFFICIENT_SCOPE` for a session with grants that the key may not give: its token would carry them. */
export const requireGrantableSession = async (
  { sessions }: HttpContext,
  caller: ServiceCaller,
  id: SessionId,
): Promise<void> => {
  if (caller.groups === null) return;
  requireGrantable(caller, (await sessions.find(id))?.grants);
};

/** The tenant a call is about: what was asked for, else that of the key. Throws `INSUFFICIENT_SCOPE`. */
export const tenantFor = (caller: ServiceCaller, asked: string | undefined): string => {
  const tenant = asked ?? caller.tenant ?? 'default';
  if (caller.tenant !== null && caller.tenant !== tenant) {
    throw new AppError('INSUFFICIENT_SCOPE', { detail: 'This API key belongs to another tenant.' });
  }
  return tenant;
};
