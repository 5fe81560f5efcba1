import { createHash } from 'node:crypto';
import { keyReused, readIdempotencyKey } from '@muster/http/idempotency-key';
import { type Route, type RouteReply, route } from '@muster/http/route';
import { uuidSchema } from '@muster/http/validation';
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
import { atomFeed } from './atom-feed.ts';

const RETRY_AFTER_S = 2;
const MAX_TEXT = 2_000;
/** Attempts to change a note that is changed concurrently. */
const ATTEMPTS = 10;

/** Store of the notes of operators. */
export interface IncidentNotes {
  /** `refused` without a leader, `outdated` when the note was changed since it was read. Rejects without Redis. */
  note(change: IncidentChange): Promise<WriteOutcome>;
  find(id: string): Promise<Incident | undefined>;
}

interface IncidentRoutesDeps {
  readonly fleetName: () => string;
  readonly now: () => number;
  /** Recent incidents, from memory. */
  readonly incidents: () => readonly Incident[];
  /** Ids of incidents that are not stored yet. */
  readonly unsaved: () => ReadonlySet<string>;
  readonly notes: () => IncidentNotes | undefined;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

const text = z.string().trim().min(1).max(MAX_TEXT);
const refusals = {
  401: { description: 'missing or invalid operator token' },
  403: { description: 'this aggregator has no OPS_TOKEN' },
  422: { description: 'the body is not valid' },
  503: { description: 'no leader is elected, or Redis is unavailable' },
} as const;

/**
 * `GET /v1/incidents` and `/feed.atom`, and the notes of operators: `POST /v1/incidents` and `POST /v1/incidents/:id/updates`.
 * Webhooks are sent for notes too.
 */
export const incidentRoutes = (deps: IncidentRoutesDeps): Route[] => [
  feedRoute(deps),
  listRoute(deps),
  openRoute(deps),
  updateRoute(deps),
];

const feedRoute = ({ incidents, unsaved, fleetName, now }: IncidentRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/feed.atom',
    summary: 'Incidents as an Atom feed',
    responses: { 200: { description: 'at most 100 incidents, newest first' } },
    handle: () => {
      // The id of an entry must not change, and that of an incident may until it is stored.
      const pending = unsaved();
      const stored = incidents().filter(({ id }) => !pending.has(id));
      return {
        status: 200,
        headers: { 'Cache-Control': 'max-age=10', 'Content-Type': 'application/atom+xml; charset=utf-8' },
        text: atomFeed(stored, { fleet: fleetName(), self: '/feed.atom', now: now() }),
      };
    },
  });

const listRoute = ({ incidents, unsaved }: IncidentRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/incidents',
    summary: 'Recent incidents, newest first',
    query: z.object({ state: z.enum(['open', 'closed', 'all']).default('all') }),
    responses: {
      200: {
        description:
          'at most 100 incidents; `isUnsaved`: not stored yet, the id may change; `isStartUnknown`: it may have started earlier',
      },
    },
    handle: ({ query: { state } }) => {
      const pending = unsaved();
      const items = incidents()
        .filter(({ closedAt }) => state === 'all' || (state === 'open') === (closedAt === undefined))
        .map((incident) => ({
          ...incidentBody(incident),
          ...(pending.has(incident.id) ? { isUnsaved: true } : {}),
        }));
      return { status: 200, headers: { 'Cache-Control': 'max-age=1' }, body: { items } };
    },
  });

const incidentBody = ({ openedAt, closedAt, updates, ...rest }: Incident) => ({
  ...rest,
  openedAt: new Date(openedAt).toISOString(),
  ...(closedAt === undefined ? {} : { closedAt: new Date(closedAt).toISOString() }),
  updates: updates.map(({ at, madeBy: _, ...update }) => ({ at: new Date(at).toISOString(), ...update })),
});

const openRoute = (deps: IncidentRoutesDeps): Route =>
  route({
    method: 'post',
    path: '/v1/incidents',
    summary: 'Open a note on an incident or a maintenance',
    body: z.strictObject({
      subject: z.string().trim().min(1).max(64).default('fleet'),
      severity: z.enum(['degraded', 'partial_outage', 'major_outage']).default('degraded'),
      text,
    }),
    guard: deps.guard,
    responses: {
      201: { description: 'the incident; for a repeated `Idempotency-Key` that of the first request' },
      ...refusals,
    },
    handle: async ({ req, body }) => {
      const { severity: status, ...note } = body;
      const madeBy = keyedRequestOf(req, body);
      if (madeBy === undefined) {
        return write(deps, 201, () => openIncidentNote(crypto.randomUUID(), { ...note, status }, deps.now()));
      }
      // The id is derived from the key: every aggregator finds the incident of a repeated request.
      const id = idOf(madeBy);
      return write(deps, 201, async () => {
        const earlier = await deps.notes()?.find(id);
        if (earlier === undefined) return openIncidentNote(id, { ...note, status, madeBy }, deps.now());
        isRepeated(earlier, madeBy);
        return earlier;
      });
    },
  });

const updateRoute = (deps: IncidentRoutesDeps): Route =>
  route({
    method: 'post',
    path: '/v1/incidents/:id/updates',
    summary: 'Update or close a note',
    params: z.object({ id: uuidSchema }),
    body: z.strictObject({ text, closes: z.boolean().default(false) }),
    guard: deps.guard,
    responses: {
      200: { description: 'the incident; a repeated `Idempotency-Key` adds one update' },
      404: { description: 'unknown incident' },
      409: { description: 'the incident is closed, or it is not a note of an operator' },
      ...refusals,
    },
    handle: ({ params: { id }, req, body }) => {
      const madeBy = keyedRequestOf(req, body);
      return write(deps, 200, async () => {
        const note = noteOf(await deps.notes()?.find(id));
        // A repeat of the request that closed it is not a conflict.
        if (madeBy !== undefined && isRepeated(note, madeBy)) return note;
        if (note.closedAt !== undefined)
          throw new AppError('CONFLICT', {
            detail: 'This incident is already closed.',
          });
        const entry = madeBy === undefined ? body : { ...body, madeBy };
        return updateIncidentNote(note, entry, deps.now());
      });
    },
  });

const noteOf = (incident: Incident | undefined): Incident => {
  if (incident === undefined) throw new AppError('NOT_FOUND', { detail: 'No incident has this id.' });
  if (incident.isNote) return incident;
  throw new AppError('CONFLICT', {
    detail: 'Only notes of operators can be updated; this incident closes when the fleet recovers.',
  });
};

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Digests of key and request; undefined without `Idempotency-Key`. */
const keyedRequestOf = (req: Request, body: object): IdempotentRequest | undefined => {
  const key = readIdempotencyKey(req);
  return key === undefined ? undefined : { key: digest(key), request: digest(JSON.stringify(body)) };
};

/** True if the request was executed before. Throws if its key was used for another request. */
const isRepeated = ({ updates }: Incident, { key, request }: IdempotentRequest): boolean => {
  const earlier = updates.find(({ madeBy }) => madeBy?.key === key)?.madeBy;
  if (earlier !== undefined && earlier.request !== request) throw keyReused();
  return earlier !== undefined;
};

/** A UUID of version 8 (RFC 9562). */
const idOf = ({ key }: IdempotentRequest): string =>
  key.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-a$4-$5');

/**
 * Writes the change that `decide` returns, and calls it again after a concurrent change. An incident instead of a change is
 * returned unchanged.
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
    if (outcome === 'refused') throw unavailable('No leader is elected. Retry in a few seconds.');
    const { kind, incident } = change;
    log.warn({ kind, subject: incident.subject, id: incident.id }, 'operator.incident_noted');
    return { status, body: incidentBody(incident) };
  }
  throw unavailable('The incident is being changed by other requests. Retry in a few seconds.');
};

const unavailable = (detail: string): AppError => new AppError('OVERLOADED', { detail, retryAfterS: RETRY_AFTER_S });

const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isRedisFault(error)) throw error;
    throw new AppError('REDIS_UNAVAILABLE', { cause: error, retryAfterS: RETRY_AFTER_S });
  }
};
