import { type Route, route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { sleep } from '@muster/kit/clock';
import type { Response } from 'express';
import { z } from 'zod';
import type { EventPosition, SessionEvent } from '../core/ports.ts';
import type { HttpContext } from './context.ts';
import { tenant } from './schemas.ts';
import { serviceGuard, tenantFor } from './service-guard.ts';
import { userGuard } from './session-guard.ts';

const MAX_WAIT_S = 20;
const POLL_MS = 500;
const START: EventPosition = { xid: '0', id: '0' };
const POSITION = /^(\d{1,19})-(\d{1,18})$/;

/** An entry of the log book, as the API shows it. */
export const eventSchema = z.object({
  id: z.string(),
  at: z.iso.datetime(),
  type: z.string(),
  tenant: z.string(),
  user_id: z.string().nullable(),
  session_id: z.string().nullable(),
  actor: z.string().nullable(),
  ip: z.string().nullable(),
  request_id: z.string().nullable().describe('The X-Request-Id of the request, as in logs and answers'),
  impersonator: z.string().nullable().describe('Who acted as the user'),
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

const count = (max: number) => z.coerce.number().pipe(z.int().min(1).max(max));

/** Routes of the log book. */
export const eventRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'get',
    path: '/v1/events',
    summary: 'What happened to sessions, in order and without holes',
    description:
      '`after` takes `next` of the answer before; `wait` keeps the request open until something happens.',
    tags: ['service'],
    security: ['serviceKey'],
    query: z.strictObject({
      after: z.string().max(40).optional(),
      types: z.string().max(500).optional(),
      wait: z.coerce.number().pipe(z.int().min(0).max(MAX_WAIT_S)).default(0),
      limit: count(1000).default(100),
      tenant: tenant.optional(),
    }),
    guard: serviceGuard(context, 'events:read'),
    responses: {
      200: { description: 'Events.', schema: z.object({ items: z.array(eventSchema), next: z.string() }) },
      401: { description: 'No API key, or a wrong one.' },
      403: { description: 'The key lacks the scope events:read.' },
      422: { description: 'The request is not valid.' },
      503: { description: 'Cannot be decided just now; try again.' },
    },
    handle: async ({ auth, query, res }) => {
      const after = positionOf(query.after);
      const tenantId = query.tenant === undefined ? auth.tenant : tenantFor(auth, query.tenant);
      const types = query.types?.split(',').filter((type) => type !== '');
      const feed = { after, tenant: tenantId, types: types?.length ? types : undefined, limit: query.limit };
      const events = await waiting(res, query.wait, () => context.admin.feed(feed), auth.requireStillValid);
      const last = events.at(-1)?.position ?? after;
      return { status: 200, body: { items: events.map(eventDto), next: `${last.xid}-${last.id}` } };
    },
  }),
  route({
    method: 'get',
    path: '/v1/me/events',
    summary: 'What happened to the sessions of this user, newest first',
    tags: ['user'],
    security: ['sessionCookie', 'sessionBearer'],
    query: z.strictObject({
      before: z
        .string()
        .regex(/^\d{1,18}$/)
        .optional(),
      limit: count(100).default(20),
    }),
    guard: userGuard(context, { unsafe: false }),
    responses: {
      200: {
        description: 'Events.',
        schema: z.object({ items: z.array(eventSchema), next: z.string().nullable() }),
      },
      401: { description: 'No session, or one that is over.' },
      422: { description: 'The request is not valid.' },
      503: { description: 'Cannot be decided just now; try again.' },
    },
    handle: async ({ auth, query: { before, limit } }) => {
      const { id, tenant: tenantId, userId } = auth.snapshot;
      const events =
        userId === null
          ? await context.admin.eventsOfSession({ sessionId: id, before, limit })
          : await context.admin.eventsOfUser({ tenant: tenantId, userId, before, limit });
      const next = events.length === limit ? (events.at(-1)?.position.id ?? null) : null;
      return { status: 200, body: { items: events.map(eventDto), next } };
    },
  }),
];

const positionOf = (text: string | undefined): EventPosition => {
  if (text === undefined) return START;
  const [, xid, id] = POSITION.exec(text) ?? [];
  if (xid !== undefined && id !== undefined) return { xid, id };
  throw new ValidationFailure([
    { loc: ['query', 'after'], msg: 'Input should be the next of an earlier answer', type: 'value_error' },
  ]);
};

/** Looks again until there is something, the time is over, or the client has gone. */
const waiting = async (
  res: Response,
  seconds: number,
  read: () => Promise<SessionEvent[]>,
  requireStillValid: () => Promise<void>,
): Promise<SessionEvent[]> => {
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  for (let left = seconds * 1000; ; left -= POLL_MS) {
    const events = await read();
    if (events.length > 0 || left <= 0 || gone.signal.aborted) return events;
    await sleep(Math.min(POLL_MS, left), gone.signal);
    await requireStillValid();
  }
};
