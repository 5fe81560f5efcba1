import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import { availabilityOf, type Day, HISTORY_DAYS } from '../core/history.ts';
import type { Incident } from '../core/incidents.ts';
import { atomFeed } from './feed.ts';

/** What the routes need; all of it is in memory. */
export interface PastDeps {
  /** Of the fleet. */
  readonly name: () => string;
  readonly now: () => number;
  readonly incidents: () => readonly Incident[];
  readonly days: () => ReadonlyMap<string, readonly Day[]>;
}

/** What was: `/v1/incidents` and `/v1/history`. */
export const pastRoutes = ({ incidents, days, name, now }: PastDeps): Route[] => [
  route({
    method: 'get',
    path: '/feed.atom',
    summary: 'Incidents as an Atom feed',
    responses: { 200: { description: 'at most 100 incidents, newest first' } },
    handle: () => ({
      status: 200,
      headers: { 'Cache-Control': 'max-age=10', 'Content-Type': 'application/atom+xml; charset=utf-8' },
      text: atomFeed(incidents(), { fleet: name(), self: '/feed.atom', now: now() }),
    }),
  }),
  route({
    method: 'get',
    path: '/v1/incidents',
    summary: 'What went wrong lately, newest first',
    query: z.object({ state: z.enum(['open', 'closed', 'all']).default('all') }),
    responses: { 200: { description: 'at most 100 incidents' } },
    handle: ({ query }) => {
      const items = incidents().filter(
        ({ closedAt }) => query.state === 'all' || (query.state === 'open') === (closedAt === undefined),
      );
      return {
        status: 200,
        headers: { 'Cache-Control': 'max-age=1' },
        body: { items: items.map(incidentBody) },
      };
    },
  }),
  route({
    method: 'get',
    path: '/v1/history',
    summary: 'How well each service was, by day (UTC)',
    query: z.object({
      service: z.string().max(64).optional(),
      days: z.coerce.number().pipe(z.int().min(1).max(HISTORY_DAYS)).default(HISTORY_DAYS),
    }),
    responses: {
      200: { description: 'seconds in each status by day, oldest first; `fleet` is the whole' },
      404: { description: 'no such service is known' },
    },
    handle: ({ query }) => {
      const wanted = [...days()].filter(([name]) => query.service === undefined || name === query.service);
      if (query.service !== undefined && wanted.length === 0) {
        throw new AppError('NOT_FOUND', { detail: 'No service of this name is known.' });
      }
      const items = wanted.map(([service, all]) => {
        const shown = all.slice(-query.days);
        return { service, availability: availabilityOf(shown) ?? null, days: shown };
      });
      return { status: 200, headers: { 'Cache-Control': 'max-age=10' }, body: { items } };
    },
  }),
];

export const incidentBody = ({ openedAt, closedAt, updates, ...rest }: Incident) => ({
  ...rest,
  openedAt: new Date(openedAt).toISOString(),
  ...(closedAt === undefined ? {} : { closedAt: new Date(closedAt).toISOString() }),
  updates: updates.map(({ at, ...update }) => ({ at: new Date(at).toISOString(), ...update })),
});
