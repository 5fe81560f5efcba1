import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { readBearer } from '@muster/session/credential';
import type { Snapshot } from '@muster/session/session-snapshot';
import { parseSessionId, type SessionId } from '@muster/session/token';
import type { Request } from 'express';
import { z } from 'zod';
import { indexOfKey } from '../core/api-keys.ts';
import { sessionIdSchema } from './schemas.ts';

/** The state of a session, as gateways read it. */
export type CheckedState =
  | { readonly id: SessionId; readonly state: 'live'; readonly snapshot: Snapshot }
  | {
      readonly id: SessionId;
      readonly state: 'ended';
      readonly reason: string;
      readonly tenant: string;
    }
  | { readonly id: SessionId; readonly state: 'unknown' };

/** Recent ends and changes. */
export interface RecentChangesReply {
  readonly sessions: readonly { readonly id: SessionId; readonly why: string }[];
  readonly changed: readonly { readonly id: SessionId; readonly why: string; readonly rev: number }[];
}

interface InternalDeps {
  readonly internalApiKey: string;
  /** Reads from Postgres and stores the snapshots in Redis. */
  readonly check: (ids: readonly SessionId[]) => Promise<CheckedState[]>;
  /** The new secret of a rotation was used. */
  readonly confirm: (id: SessionId, rev: number) => Promise<void>;
  readonly recentChanges: (ms: number) => Promise<RecentChangesReply>;
}

const MAX_IDS = 200;
const MAX_SECONDS = 900;

/** The internal API for gateways, on the ops port. */
export const internalRoutes = ({ internalApiKey, check, confirm, recentChanges }: InternalDeps): Route[] => {
  const guard = (req: Request): void => {
    const key = readBearer(req.headers.authorization);
    if (key === undefined || indexOfKey([internalApiKey], key) < 0) throw new AppError('INVALID_KEY');
  };
  return [
    route({
      method: 'post',
      path: '/internal/sessions/check',
      summary: 'Check sessions in Postgres',
      body: z.strictObject({ ids: z.array(sessionIdSchema).min(1).max(MAX_IDS) }),
      guard,
      responses: { 200: { description: 'One state per id, in their order.' } },
      handle: async ({ body }) => {
        const ids = body.ids.map(parseSessionId).filter((id) => id !== undefined);
        return { status: 200, body: { sessions: await check(ids) } };
      },
    }),
    route({
      method: 'get',
      path: '/internal/ping',
      summary: 'Check that the service responds and accepts the key, without store access',
      guard,
      responses: { 204: { description: 'The key is valid.' } },
      handle: async () => ({ status: 204 }),
    }),
    route({
      method: 'post',
      path: '/internal/sessions/confirm',
      summary: 'Confirm a rotation: the previous secret is valid for 30 s more',
      body: z.strictObject({ id: sessionIdSchema, rev: z.int().min(1) }),
      guard,
      responses: { 204: { description: 'Confirmed, now or earlier.' } },
      handle: async ({ body }) => {
        const id = parseSessionId(body.id);
        if (id !== undefined) await confirm(id, body.rev);
        return { status: 204 };
      },
    }),
    route({
      method: 'get',
      path: '/internal/ended',
      summary: 'List recent ends and changes, for gateways without a connection to the bus',
      query: z.strictObject({ since: z.coerce.number().pipe(z.int().min(1).max(MAX_SECONDS)).default(60) }),
      guard,
      responses: {
        200: { description: 'Ids and reasons of ends; ids, reasons and revisions of other changes.' },
      },
      handle: async ({ query }) => ({
        status: 200,
        body: await recentChanges(query.since * 1000),
      }),
    }),
  ];
};
