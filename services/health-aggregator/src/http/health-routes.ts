import { type Route, type RouteReply, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { z } from 'zod';
import type { FleetSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import { type ServiceStatus, STATUS_PROJECTION } from '../core/status.ts';
import {
  draftHealth,
  fleetHealth,
  HEALTH_JSON,
  type HealthBody,
  healthHttpStatus,
  instanceHealth,
  serviceHealth,
} from './health-body.ts';

const RETRY_AFTER_S = '2';
const MAX_NAME = 128;
const SERVICE_NAME = /^[a-z0-9-]{1,64}$/;
const CACHE = { 'Cache-Control': 'max-age=1', Vary: 'Accept' } as const;

const strictQuery = z.object({ strict: z.enum(['0', '1']).optional() });
const responses = {
  200: { description: 'healthy or degraded: clients are served' },
  503: { description: 'unhealthy; with strict=1 also degraded' },
} as const;

/** `/health` of the fleet, of a service and of an instance, and `/badge`. Served from memory. */
export const healthRoutes = (snapshot: () => FleetSnapshot): Route[] => [
  route({
    method: 'get',
    path: '/health',
    summary: 'Health of the fleet',
    query: strictQuery,
    responses,
    handle: ({ query, req }) => {
      const fleet = snapshot();
      return reply(req, fleetHealth(fleet), query.strict === '1', () => draftHealth(fleet));
    },
  }),
  route({
    method: 'get',
    path: '/health/:service',
    summary: 'Health of a service',
    params: z.object({ service: z.string().max(MAX_NAME) }),
    query: strictQuery,
    responses: { ...responses, 404: { description: 'unknown service' } },
    handle: ({ params, query, req }) => {
      const service = findService(snapshot(), params.service);
      return reply(req, serviceHealth(service), query.strict === '1');
    },
  }),
  route({
    method: 'get',
    path: '/health/:service/:name',
    summary: 'Health of an instance',
    params: z.object({ service: z.string().max(MAX_NAME), name: z.string().max(MAX_NAME) }),
    query: strictQuery,
    responses: { ...responses, 404: { description: 'unknown instance' } },
    handle: ({ params, query, req }) => {
      const service = findService(snapshot(), params.service);
      const instance = service.instances.find(({ name }) => name === params.name);
      if (!instance) throw new AppError('NOT_FOUND', { detail: 'This service has no instance of this name.' });
      return reply(req, instanceHealth(service.service, instance), query.strict === '1');
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
    responses: { 200: { description: 'the badge' }, 404: { description: 'unknown service' } },
    handle: ({ params }) => {
      const name = params.file.slice(0, -'.svg'.length);
      const fleet = snapshot();
      const status = name === 'fleet' ? fleet.status : findService(fleet, name).status;
      return {
        status: 200,
        headers: { 'Content-Type': 'image/svg+xml', 'Cache-Control': 'max-age=5' },
        text: badgeSvg(name, status),
      };
    },
  }),
];

const findService = (fleet: FleetSnapshot, name: string): ServiceSnapshot => {
  const service = SERVICE_NAME.test(name) ? fleet.services.find((each) => each.service === name) : undefined;
  if (!service) throw new AppError('NOT_FOUND', { detail: 'This fleet has no service of this name.' });
  return service;
};

/** JSON by default; the status for `text/plain`, and the format of the draft for its media type. */
const reply = (req: Request, body: HealthBody, isStrict: boolean, draft?: () => object): RouteReply => {
  const status = healthHttpStatus(body, isStrict);
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

const BADGE_COLOURS: Readonly<Record<ServiceStatus, string>> = {
  operational: '#17714a',
  degraded: '#8f5a00',
  partial_outage: '#a14a12',
  major_outage: '#b3261e',
  unknown: '#6f6b64',
};
const CHAR_WIDTH = 6.6;
const PADDING = 12;

/** An SVG with a name and a status, for READMEs and wikis. `name` must consist of [a-z0-9-]. */
const badgeSvg = (name: string, status: ServiceStatus): string => {
  const label = STATUS_PROJECTION[status].text;
  const left = Math.round(name.length * CHAR_WIDTH + PADDING);
  const right = Math.round(label.length * CHAR_WIDTH + PADDING);
  const text = (x: number, content: string) =>
    `<text x="${x}" y="14" text-anchor="middle" textLength="${Math.round(content.length * CHAR_WIDTH)}">${content}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + right}" height="20" role="img" aria-label="${name}: ${label}"><title>${name}: ${label}</title><clipPath id="r"><rect width="${left + right}" height="20" rx="4"/></clipPath><g clip-path="url(#r)"><path fill="#44413b" d="M0 0h${left}v20H0z"/><path fill="${BADGE_COLOURS[status]}" d="M${left} 0h${right}v20H${left}z"/></g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">${text(left / 2, name)}${text(left + right / 2, label)}</g></svg>`;
};
