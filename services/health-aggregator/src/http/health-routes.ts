import { type Route, type RouteReply, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { z } from 'zod';
import type { FleetSnapshot, InstanceSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import { badge } from './badge.ts';
import { fleetHealth, type HealthBody, healthStatus, instanceHealth, serviceHealth } from './health-body.ts';
import { HEALTH_JSON, healthJson } from './health-json.ts';

const RETRY_AFTER_S = '2';
const MAX_NAME = 128;
const SERVICE_NAME = /^[a-z0-9-]{1,64}$/;
const CACHE = { 'Cache-Control': 'max-age=1', Vary: 'Accept' } as const;

const strictQuery = z.object({ strict: z.enum(['0', '1']).optional() });
const responses = {
  200: { description: 'healthy, or degraded: clients are served' },
  503: { description: 'unhealthy; with strict=1 also degraded' },
} as const;

/** `/health` of the fleet, of one service and of one instance, and badges. All from memory. */
export const healthRoutes = (view: () => FleetSnapshot): Route[] => [
  route({
    method: 'get',
    path: '/health',
    summary: 'Is the fleet serving clients?',
    query: strictQuery,
    responses,
    handle: ({ query, req }) => {
      const now = view();
      return answer(req, fleetHealth(now), query.strict === '1', () => healthJson(now));
    },
  }),
  route({
    method: 'get',
    path: '/health/:service',
    summary: 'Is this service serving clients?',
    params: z.object({ service: z.string().max(MAX_NAME) }),
    query: strictQuery,
    responses: { ...responses, 404: { description: 'no such service is known' } },
    handle: ({ params, query, req }) => {
      const service = find(view(), params.service);
      return answer(req, serviceHealth(service), query.strict === '1');
    },
  }),
  route({
    method: 'get',
    path: '/health/:service/:name',
    summary: 'Does this instance work?',
    params: z.object({ service: z.string().max(MAX_NAME), name: z.string().max(MAX_NAME) }),
    query: strictQuery,
    responses: { ...responses, 404: { description: 'no such instance is known' } },
    handle: ({ params, query, req }) => {
      const { service, instance } = findInstance(view(), params);
      return answer(req, instanceHealth(service.service, instance), query.strict === '1');
    },
  }),
  route({
    method: 'get',
    path: '/badge/:file',
    summary: 'An SVG badge: fleet.svg, or the name of a service',
    params: z.object({
      file: z
        .string()
        .regex(/\.svg$/, 'must end in .svg')
        .max(MAX_NAME),
    }),
    responses: { 200: { description: 'the badge' }, 404: { description: 'no such service is known' } },
    handle: ({ params }) => {
      const name = params.file.slice(0, -'.svg'.length);
      const now = view();
      const status = name === 'fleet' ? now.status : find(now, name).status;
      return {
        status: 200,
        headers: { 'Content-Type': 'image/svg+xml', 'Cache-Control': 'max-age=5' },
        text: badge(name, status),
      };
    },
  }),
];

const find = (view: FleetSnapshot, name: string): ServiceSnapshot => {
  const service = SERVICE_NAME.test(name) ? view.services.find((one) => one.service === name) : undefined;
  if (!service) throw new AppError('NOT_FOUND', { detail: 'No service of this name is known.' });
  return service;
};

const findInstance = (
  view: FleetSnapshot,
  { service: name, name: instanceName }: { service: string; name: string },
): { service: ServiceSnapshot; instance: InstanceSnapshot } => {
  const service = find(view, name);
  const instance = service.instances.find((one) => one.name === instanceName);
  if (!instance) throw new AppError('NOT_FOUND', { detail: 'No instance of this name is known.' });
  return { service, instance };
};

/** JSON by default; one word for `text/plain`, the draft's format for its media type where there is one. */
const answer = (req: Request, body: HealthBody, isStrict: boolean, draft?: () => object): RouteReply => {
  const status = healthStatus(body, isStrict);
  const headers = status === 503 ? { ...CACHE, 'Retry-After': RETRY_AFTER_S } : CACHE;
  const offered = ['application/json', 'text/plain', ...(draft ? [HEALTH_JSON] : [])];
  switch (req.accepts(offered)) {
    case 'text/plain':
      return {
        status,
        headers: { ...headers, 'Content-Type': 'text/plain; charset=utf-8' },
        text: `${body.status}\n`,
      };
    case HEALTH_JSON:
      return { status, headers: { ...headers, 'Content-Type': HEALTH_JSON }, body: draft?.() };
    default:
      return { status, headers, body };
  }
};
