import type { Route } from '@muster/http/route';
import { z } from 'zod';
import { FINDING_NAMES } from '../core/database-connections.ts';
import type { ConnectionReport } from '../postgres/connection-report.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';

const reportSchema = z.object({
  findings: z.array(z.object({ verdict: z.enum(FINDING_NAMES), advice: z.string() })),
  pool: z.object({
    total: z.int(),
    idle: z.int(),
    waiting: z.int(),
    max: z.int(),
    oldest_checkout: z.object({ age_ms: z.int(), holder: z.string() }).nullable(),
  }),
  budget: z.object({ needed: z.int(), allowed: z.int(), fits: z.boolean(), sum: z.string() }).nullable(),
  postgres: z
    .object({
      max_connections: z.int(),
      reserved: z.int(),
      clients: z.array(z.object({ application: z.string(), state: z.string(), count: z.int(), oldest_s: z.number() })),
    })
    .nullable(),
  redis: z.object({ connected: z.int(), max_clients: z.int(), rejected: z.int() }).nullable(),
});

/** Routes for operators. */
export const diagnosticsRoutes = (context: HttpContext): Route[] => [
  serviceRoute(context, 'ops', {
    method: 'get',
    path: '/v1/diagnostics/connections',
    summary: 'Report the database connections, with findings and remedies',
    tags: ['operations'],
    responses: {
      200: { description: 'The report; the first finding is the most likely cause.', schema: reportSchema },
    },
    handle: async () => ({ status: 200, body: reportDto(await context.connections.report()) }),
  }),
];

const reportDto = ({
  findings,
  pool: { oldestCheckout, ...pool },
  budget,
  postgres,
  redis,
}: ConnectionReport): z.output<typeof reportSchema> => ({
  findings,
  pool: {
    ...pool,
    oldest_checkout: oldestCheckout ? { age_ms: oldestCheckout.ageMs, holder: oldestCheckout.holder } : null,
  },
  budget: budget ?? null,
  postgres: postgres
    ? {
        max_connections: postgres.maxConnections,
        reserved: postgres.reserved,
        clients: postgres.clients.map(({ oldestS, ...client }) => ({ ...client, oldest_s: oldestS })),
      }
    : null,
  redis: redis ? { connected: redis.connected, max_clients: redis.maxClients, rejected: redis.rejected } : null,
});
