import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import { availabilityOf, HISTORY_DAYS, type UptimeDay } from '../core/uptime-history.ts';

/** `GET /v1/history`: uptime by service and day, from memory. */
export const uptimeRoute = (days: () => ReadonlyMap<string, readonly UptimeDay[]>): Route =>
  route({
    method: 'get',
    path: '/v1/history',
    summary: 'Uptime of each service by day (UTC)',
    query: z.object({
      service: z.string().max(64).optional(),
      days: z.coerce.number().pipe(z.int().min(1).max(HISTORY_DAYS)).default(HISTORY_DAYS),
    }),
    responses: {
      200: {
        description:
          'seconds in each status by day, oldest first; `fleet` is the whole, `redis` and `database` are the stores',
      },
      404: { description: 'unknown service' },
    },
    handle: ({ query }) => {
      const items = [...days()]
        .filter(([name]) => query.service === undefined || name === query.service)
        .map(([service, all]) => {
          const shown = all.slice(-query.days);
          return { service, availability: availabilityOf(shown, service) ?? null, days: shown };
        });
      if (query.service !== undefined && items.length === 0)
        throw new AppError('NOT_FOUND', { detail: 'This fleet has no service of this name.' });
      return { status: 200, headers: { 'Cache-Control': 'max-age=10' }, body: { items } };
    },
  });
