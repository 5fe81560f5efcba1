import { type Route, route } from '@muster/http/route';
import { z } from 'zod';
import { FINDING_NAMES } from '../core/database-connections.ts';
import type { ConnectionReport } from '../postgres/connection-report.ts';
import type { HttpContext } from './context.ts';
import { serviceGuard } from './service-guard.ts';

const nullable = <T extends z.ZodType>(type: T) => type.nullable();

const reportSchema = z.object({
  findings: z.array(z.object({ verdict: z.enum(FINDING_NAMES), advice: z.string() })),
  pool: z.object({
    total: z.int(),
    idle: z.int(),
    waiting: z.int(),
    max: z.int(),
    oldest_checkout: nullable(z.object({ age_ms: z.int(), holder: z.string() })),
  }),
  budget: nullable(z.object({ needed: z.int(), allowed: z.int(), fits: z.boolean(), sum: z.string() })),
  postgres: nullable(
    z.object({
      max_connections: z.int(),
      reserved: z.int(),
      clients: z.array(
        z.object({ application: z.string(), state: z.string(), count: z.int(), oldest_s: z.number() }),
      ),
    }),
  ),
  redis: nullable(z.object({ connected: z.int(), max_clients: z.int(), rejected: z.int() })),
});

/** What operators ask when somebody says "too many connections". */
export const diagnosticsRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'get',
    path: '/v1/diagnostics/connections',
    summary: 'Who holds which connections, and what is wrong with that',
    tags: ['operations'],
    security: ['serviceKey'],
    guard: serviceGuard(context, 'ops'),
    responses: {
      200: { description: 'The report; the first finding is the likeliest cause.', schema: reportSchema },
      401: { description: 'No API key, or a wrong one.' },
      403: { description: 'The key lacks the scope ops.' },
    },
    handle: async () => ({ status: 200, body: viewReport(await context.connections.report()) }),
  }),
];

const viewReport = ({
  findings,
  pool,
  budget,
  postgres,
  redis,
}: ConnectionReport): z.output<typeof reportSchema> => {
  const { oldestCheckout, ...numbers } = pool;
  return {
    findings: [...findings],
    pool: {
      ...numbers,
      oldest_checkout: oldestCheckout
        ? { age_ms: oldestCheckout.ageMs, holder: oldestCheckout.holder }
        : null,
    },
    budget: budget ?? null,
    postgres: postgres
      ? {
          max_connections: postgres.maxConnections,
          reserved: postgres.reserved,
          clients: postgres.clients.map(({ oldestS, ...one }) => ({ ...one, oldest_s: oldestS })),
        }
      : null,
    redis: redis
      ? { connected: redis.connected, max_clients: redis.maxClients, rejected: redis.rejected }
      : null,
  };
};
