import { type Reply, type Route, route } from '@muster/http/route';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault } from '@muster/kit/redis';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { z } from 'zod';
import { type Incident, type IncidentChange, openNote, updateNote } from '../core/incidents.ts';
import { incidentBody } from './past-routes.ts';

const RETRY_AFTER_S = 2;
const MAX_TEXT = 2_000;

/** Where notes are kept. */
export interface Notes {
  /** False when nobody leads. Rejects without Redis. */
  note(change: IncidentChange): Promise<boolean>;
  find(id: string): Promise<Incident | undefined>;
}

/** What the routes need. */
export interface NoteDeps {
  readonly notes: () => Notes | undefined;
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
export const noteRoutes = (deps: NoteDeps): Route[] => [open(deps), update(deps)];

const open = (deps: NoteDeps): Route =>
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
    responses: { 201: { description: 'the incident' }, ...refusals },
    handle: ({ body: { severity: status, ...said } }) =>
      write(deps, openNote(crypto.randomUUID(), { ...said, status }, deps.clock.now()), 201),
  });

const update = (deps: NoteDeps): Route =>
  route({
    method: 'post',
    path: '/v1/incidents/:id/updates',
    summary: 'Add to what an operator said, or end it',
    params: z.object({ id: z.uuid() }),
    body: z.strictObject({ text, closes: z.boolean().default(false) }),
    guard: deps.guard,
    responses: {
      200: { description: 'the incident' },
      404: { description: 'there is no such incident' },
      409: { description: 'it is over, or it was not an operator who opened it' },
      ...refusals,
    },
    handle: async ({ params: { id }, body }) => {
      const note = await attempt(async () => deps.notes()?.find(id));
      if (note === undefined) throw new AppError('NOT_FOUND', { detail: 'There is no such incident.' });
      if (!note.isNote) {
        throw new AppError('CONFLICT', { detail: 'What the aggregators see themselves ends by itself.' });
      }
      if (note.closedAt !== undefined) throw new AppError('CONFLICT', { detail: 'It is over.' });
      return write(deps, updateNote(note, body, deps.clock.now()), 200);
    },
  });

const write = async ({ notes, log }: NoteDeps, change: IncidentChange, status: number): Promise<Reply> => {
  const isWritten = await attempt(async () => notes()?.note(change));
  if (!isWritten) {
    throw new AppError('OVERLOADED', { detail: 'Nobody leads just now.', retryAfterS: RETRY_AFTER_S });
  }
  const { kind, incident } = change;
  log.warn({ kind, subject: incident.subject, id: incident.id }, 'operator.noted');
  return { status, body: incidentBody(incident) };
};

const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isRedisFault(error)) throw error;
    throw new AppError('REDIS_UNAVAILABLE', { cause: error, retryAfterS: RETRY_AFTER_S });
  }
};
