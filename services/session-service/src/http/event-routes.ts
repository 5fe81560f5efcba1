import type { Route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { sleep } from '@muster/kit/clock';
import type { Response } from 'express';
import { z } from 'zod';
import type { EventPosition, SessionEvent } from '../core/ports.ts';
import { serviceRoute, userRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { tenant } from './schemas.ts';
import { tenantFor } from './service-guard.ts';

const MAX_WAIT_S = 20;
const POLL_MS = 500;
const START: EventPosition = { xid: '0', id: '0' };
const POSITION = /^(\d{1,19})-(\d{1,18})$/;

/** An event of the audit log. */
export const eventSchema = z.object({
  id: z.string(),
  at: z.iso.datetime(),
  type: z.string(),
  tenant: z.string(),
  user_id: z.string().nullable(),
  session_id: z.string().nullable(),
  actor: z.string().nullable(),
  ip: z.string().nullable(),
  request_id: z.string().nullable().describe('The X-Request-Id of the request, as in logs and responses'),
  impersonator: z.string().nullable().describe('The actor of an impersonated session'),
  detail: z.record(z.string(), z.unknown()),
});

export const eventDto = (event: SessionEvent): z.output<typeof eventSchema> => ({
  id: event.position.id,
  at: new Date(event.at).toISOString(),
  type: event.type,
  tenant: event.tenant,
  user_id: event.userId,
  session_id: event.sessionId,
  actor: event.actor,
  ip: event.ip,
  request_id: event.requestId,
  impersonator: event.impersonator,
  detail: event.detail,
});

const limit = (max: number, fallback: number) => z.coerce.number().pipe(z.int().min(1).max(max)).default(fallback);

/** Routes of the audit log. */
export const eventRoutes = (context: HttpContext): Route[] => [
  serviceRoute(context, 'events:read', {
    method: 'get',
    path: '/v1/events',
    summary: 'Read the event feed, in commit order and without gaps',
    description:
      '`after` takes `next` of the previous response. `wait` keeps the request open until there is an event, in seconds.',
    query: z.strictObject({
      after: z.string().max(40).optional(),
      types: z.string().max(500).optional(),
      wait: z.coerce.number().pipe(z.int().min(0).max(MAX_WAIT_S)).default(0),
      limit: limit(1000, 100),
      tenant: tenant.optional(),
    }),
    responses: {
      200: { description: 'Events.', schema: z.object({ items: z.array(eventSchema), next: z.string() }) },
    },
    handle: async ({ auth, query, res }) => {
      const after = positionOf(query.after);
      const tenantId = query.tenant === undefined ? auth.tenant : tenantFor(auth, query.tenant);
      const types = query.types?.split(',').filter((type) => type !== '');
      const feed = { after, tenant: tenantId, types: types?.length ? types : undefined, limit: query.limit };
      const events = await waitForEvents(res, query.wait, () => context.admin.feed(feed), auth.requireStillValid);
      const last = events.at(-1)?.position ?? after;
      return { status: 200, body: { items: events.map(eventDto), next: `${last.xid}-${last.id}` } };
    },
  }),
  userRoute(context, {
    method: 'get',
    path: '/v1/me/events',
    summary: 'List the events of this user, newest first',
    query: z.strictObject({
      before: z
        .string()
        .regex(/^\d{1,18}$/)
        .optional(),
      limit: limit(100, 20),
    }),
    responses: {
      200: {
        description: 'Events.',
        schema: z.object({ items: z.array(eventSchema), next: z.string().nullable() }),
      },
    },
    handle: async ({ auth, query: { before, limit: max } }) => {
      const { id, tenant: tenantId, userId } = auth.snapshot;
      const events =
        userId === null
          ? await context.admin.eventsOfSession({ sessionId: id, before, limit: max })
          : await context.admin.eventsOfUser({ tenant: tenantId, userId, before, limit: max });
      const next = events.length === max ? (events.at(-1)?.position.id ?? null) : null;
      return { status: 200, body: { items: events.map(eventDto), next } };
    },
  }),
];

const positionOf = (text: string | undefined): EventPosition => {
  if (text === undefined) return START;
  const [, xid, id] = POSITION.exec(text) ?? [];
  if (xid !== undefined && id !== undefined) return { xid, id };
  throw new ValidationFailure([
    {
      loc: ['query', 'after'],
      msg: 'Input should be `next` of an earlier response',
      type: 'value_error',
    },
  ]);
};

/** Polls until there are events, the time is up, or the client has disconnected. */
const waitForEvents = async (
  res: Response,
  seconds: number,
  read: () => Promise<SessionEvent[]>,
  requireStillValid: () => Promise<void>,
): Promise<SessionEvent[]> => {
  const disconnected = new AbortController();
  res.once('close', () => disconnected.abort());
  for (let left = seconds * 1000; ; left -= POLL_MS) {
    const events = await read();
    if (events.length > 0 || left <= 0 || disconnected.signal.aborted) return events;
    await sleep(Math.min(POLL_MS, left), disconnected.signal);
    await requireStillValid();
  }
};
