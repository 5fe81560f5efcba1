import { createHash } from 'node:crypto';
import { keyReused, readIdempotencyKey } from '@muster/http/idempotency-key';
import { type Route, type RouteReply, route } from '@muster/http/route';
import { uuidSchema } from '@muster/http/validation';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { z } from 'zod';
import {
  type IdempotentRequest,
  type Incident,
  type IncidentChange,
  openIncidentNote,
  updateIncidentNote,
  type WriteOutcome,
} from '../core/incidents.ts';
import { incidentBody } from './uptime-routes.ts';

const RETRY_AFTER_S = 2;
const MAX_TEXT = 2_000;
/** How often a note is read again that somebody else changes at the same moment. */
const ATTEMPTS = 10;

/** Where notes are kept. */
export interface IncidentNotes {
  /** `refused` when nobody leads, `outdated` when somebody changed the note since it was read. Rejects without Redis. */
  note(change: IncidentChange): Promise<WriteOutcome>;
  find(id: string): Promise<Incident | undefined>;
}

/** What the routes need. */
export interface IncidentRoutesDeps {
  readonly notes: () => IncidentNotes | undefined;
  readonly guard: (req: Request) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const text = z.string().trim().min(1).max(MAX_TEXT);
const refusals = {
  401: { description: 'no operator token, or a wrong one' },
  403: { description: 'this aggregator takes no orders' },
  422: { description: 'the body is not valid' },
  503: { description: 'nothing can be written just now' },
} as const;

/** What operators have to say: `POST /v1/incidents` and `POST /v1/incidents/:id/updates`. Receivers of webhooks hear of it. */
export const incidentRoutes = (deps: IncidentRoutesDeps): Route[] => [open(deps), update(deps)];

const open = (deps: IncidentRoutesDeps): Route =>
  route({
    method: 'post',
    path: '/v1/incidents',
    summary: 'Tell everybody of something that is wrong, or will be',
    body: z.strictObject({
      subject: z.string().trim().min(1).max(64).default('fleet'),
      severity: z.enum(['degraded', 'partial_outage', 'major_outage']).default('degraded'),
      text,
    }),
    guard: deps.guard,
    responses: {
      201: { description: 'the incident; with the `Idempotency-Key` of an earlier request that one' },
      ...refusals,
    },
    handle: async ({ req, body }) => {
      const { severity: status, ...said } = body;
      const madeBy = keyedRequestOf(req, body);
      if (madeBy === undefined) {
        return write(deps, 201, () =>
          openIncidentNote(crypto.randomUUID(), { ...said, status }, deps.clock.now()),
        );
      }
      // The id follows from the key: any aggregator that gets the repeat finds the incident.
      const id = idOf(madeBy);
      return write(deps, 201, async () => {
        const earlier = await deps.notes()?.find(id);
        if (earlier === undefined) return openIncidentNote(id, { ...said, status, madeBy }, deps.clock.now());
        wasMadeBy(earlier, madeBy);
        return earlier;
      });
    },
  });

const update = (deps: IncidentRoutesDeps): Route =>
  route({
    method: 'post',
    path: '/v1/incidents/:id/updates',
    summary: 'Add to what an operator said, or end it',
    params: z.object({ id: uuidSchema }),
    body: z.strictObject({ text, closes: z.boolean().default(false) }),
    guard: deps.guard,
    responses: {
      200: { description: 'the incident; the update of a repeated `Idempotency-Key` is made once' },
      404: { description: 'there is no such incident' },
      409: { description: 'it is over, or it was not an operator who opened it' },
      ...refusals,
    },
    handle: ({ params: { id }, req, body }) => {
      const madeBy = keyedRequestOf(req, body);
      return write(deps, 200, async () => {
        const note = noteOf(await deps.notes()?.find(id));
        // The repeat of the request that closed it is no conflict.
        if (madeBy !== undefined && wasMadeBy(note, madeBy)) return note;
        if (note.closedAt !== undefined) throw new AppError('CONFLICT', { detail: 'It is over.' });
        const said = madeBy === undefined ? body : { ...body, madeBy };
        return updateIncidentNote(note, said, deps.clock.now());
      });
    },
  });

const noteOf = (incident: Incident | undefined): Incident => {
  if (incident === undefined) throw new AppError('NOT_FOUND', { detail: 'There is no such incident.' });
  if (incident.isNote) return incident;
  throw new AppError('CONFLICT', { detail: 'What the aggregators see themselves ends by itself.' });
};

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Key and request as they are kept; undefined for a request without `Idempotency-Key`. */
const keyedRequestOf = (req: Request, asked: object): IdempotentRequest | undefined => {
  const key = readIdempotencyKey(req);
  return key === undefined ? undefined : { key: digest(key), request: digest(JSON.stringify(asked)) };
};

/** Whether a request has been carried out before. Throws for a key that stands for another one. */
const wasMadeBy = ({ updates }: Incident, { key, request }: IdempotentRequest): boolean => {
  const earlier = updates.find(({ madeBy }) => madeBy?.key === key)?.madeBy;
  if (earlier !== undefined && earlier.request !== request) throw keyReused();
  return earlier !== undefined;
};

/** A UUID of version 8 (RFC 9562). */
const idOf = ({ key }: IdempotentRequest): string =>
  key.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-a$4-$5');

/**
 * Writes the change that `decide` makes of what is stored, and decides again when somebody else wrote in between.
 * An incident instead of a change is the answer as it stands.
 */
const write = async (
  { notes, log }: IncidentRoutesDeps,
  status: number,
  decide: () => Promise<IncidentChange | Incident> | IncidentChange,
): Promise<RouteReply> => {
  for (let attempts = 0; attempts < ATTEMPTS; attempts += 1) {
    const change = await attempt(async () => decide());
    if (!('incident' in change)) return { status, body: incidentBody(change) };
    const outcome = (await attempt(async () => notes()?.note(change))) ?? 'refused';
    if (outcome === 'outdated') continue;
    if (outcome === 'refused') throw notNow('Nobody leads just now.');
    const { kind, incident } = change;
    log.warn({ kind, subject: incident.subject, id: incident.id }, 'operator.incident_noted');
    return { status, body: incidentBody(incident) };
  }
  throw notNow('Others change this incident at the same moment.');
};

const notNow = (detail: string): AppError =>
  new AppError('OVERLOADED', { detail, retryAfterS: RETRY_AFTER_S });

const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isRedisFault(error)) throw error;
    throw new AppError('REDIS_UNAVAILABLE', { cause: error, retryAfterS: RETRY_AFTER_S });
  }
};
