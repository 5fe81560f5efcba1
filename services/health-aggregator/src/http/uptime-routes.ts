import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import type { Incident } from '../core/incidents.ts';
import { availabilityOf, HISTORY_DAYS, type UptimeDay } from '../core/uptime-history.ts';
import { atomFeed } from './atom-feed.ts';

/** What the routes need; all of it is in memory. */
export interface HistoryRoutesDeps {
  /** Of the fleet. */
  readonly name: () => string;
  readonly now: () => number;
  readonly incidents: () => readonly Incident[];
  /** Ids of those that are not in the store yet. */
  readonly unsaved: () => ReadonlySet<string>;
  readonly days: () => ReadonlyMap<string, readonly UptimeDay[]>;
}

/** What was: `/feed.atom`, `/v1/incidents` and `/v1/history`. */
export const historyRoutes = (deps: HistoryRoutesDeps): Route[] => [
  feed(deps),
  listIncidents(deps),
  history(deps),
];

const feed = ({ incidents, unsaved, name, now }: HistoryRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/feed.atom',
    summary: 'Incidents as an Atom feed',
    responses: { 200: { description: 'at most 100 incidents, newest first' } },
    handle: () => {
      // An entry has one id for ever, and that is certain when the incident is stored.
      const waiting = unsaved();
      const stored = incidents().filter(({ id }) => !waiting.has(id));
      return {
        status: 200,
        headers: { 'Cache-Control': 'max-age=10', 'Content-Type': 'application/atom+xml; charset=utf-8' },
        text: atomFeed(stored, { fleet: name(), self: '/feed.atom', now: now() }),
      };
    },
  });

const listIncidents = ({ incidents, unsaved }: HistoryRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/incidents',
    summary: 'What went wrong lately, newest first',
    query: z.object({ state: z.enum(['open', 'closed', 'all']).default('all') }),
    responses: {
      200: {
        description:
          'at most 100 incidents; `isUnsaved` stands in those that wait for the store and may get another id, `isStartUnknown` in those that may have begun earlier',
      },
    },
    handle: ({ query }) => {
      const items = incidents().filter(
        ({ closedAt }) => query.state === 'all' || (query.state === 'open') === (closedAt === undefined),
      );
      const waiting = unsaved();
      const bodies = items.map((one) => ({
        ...incidentBody(one),
        ...(waiting.has(one.id) ? { isUnsaved: true } : {}),
      }));
      return { status: 200, headers: { 'Cache-Control': 'max-age=1' }, body: { items: bodies } };
    },
  });

const history = ({ days }: HistoryRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/history',
    summary: 'How well each service was, by day (UTC)',
    query: z.object({
      service: z.string().max(64).optional(),
      days: z.coerce.number().pipe(z.int().min(1).max(HISTORY_DAYS)).default(HISTORY_DAYS),
    }),
    responses: {
      200: {
        description:
          'seconds in each status by day, oldest first; `fleet` is the whole, `redis` and `database` are the stores',
      },
      404: { description: 'no such service is known' },
    },
    handle: ({ query }) => {
      const wanted = [...days()].filter(([name]) => query.service === undefined || name === query.service);
      if (query.service !== undefined && wanted.length === 0) {
        throw new AppError('NOT_FOUND', { detail: 'No service of this name is known.' });
      }
      const items = wanted.map(([service, all]) => {
        const shown = all.slice(-query.days);
        return { service, availability: availabilityOf(shown, service) ?? null, days: shown };
      });
      return { status: 200, headers: { 'Cache-Control': 'max-age=10' }, body: { items } };
    },
  });

export const incidentBody = ({ openedAt, closedAt, updates, ...rest }: Incident) => ({
  ...rest,
  openedAt: new Date(openedAt).toISOString(),
  ...(closedAt === undefined ? {} : { closedAt: new Date(closedAt).toISOString() }),
  updates: updates.map(({ at, madeBy: _, ...update }) => ({ at: new Date(at).toISOString(), ...update })),
});
