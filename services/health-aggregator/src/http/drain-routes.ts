import { type Route, type RouteReply, route } from '@muster/http/route';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { z } from 'zod';
import { mayDrain } from '../core/drain-policy.ts';
import type { FleetSnapshot, InstanceSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import type { DrainDirectives } from '../stores/drain-directives.ts';

const RETRY_AFTER_S = 2;

interface DrainRoutesDeps {
  readonly snapshot: () => FleetSnapshot;
  readonly directives: DrainDirectives;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

const params = z.object({ name: z.string().min(1).max(128) });
const refusals = {
  401: { description: 'missing or invalid operator token' },
  403: { description: 'this aggregator has no OPS_TOKEN' },
  404: { description: 'unknown instance' },
  503: { description: 'Redis is unavailable' },
} as const;

/** Drains and resumes an instance: `POST` and `DELETE /v1/instances/:name/drain`. */
export const drainRoutes = ({ snapshot, directives, guard, log }: DrainRoutesDeps): Route[] => {
  const issue = async (name: string, kind: 'drain' | 'resume', reason: string): Promise<RouteReply> => {
    const { instance, service } = findInstanceByName(snapshot(), name);
    try {
      await directives.issue(instance.id, kind, { reason });
    } catch (error) {
      if (!isRedisFault(error)) throw error;
      throw new AppError('REDIS_UNAVAILABLE', { cause: error, retryAfterS: RETRY_AFTER_S });
    }
    log.warn({ name, of: service.service, kind, reason }, 'operator.directive');
    const { state, load } = instance;
    return { status: 202, body: { name, service: service.service, directive: kind, state, load } };
  };
  return [
    route({
      method: 'post',
      path: '/v1/instances/:name/drain',
      summary: 'Drain an instance: it gets no new clients',
      params,
      body: z.strictObject({ reason: z.string().max(200).default(''), force: z.boolean().default(false) }).prefault({}),
      guard,
      responses: {
        202: { description: 'the instance applies it within about two seconds' },
        409: { description: 'too few other instances would be left serving; `force` overrides' },
        422: { description: 'the body is not valid' },
        ...refusals,
      },
      handle: ({ params: { name }, body }) => {
        const decision = mayDrain(findInstanceByName(snapshot(), name).service, name);
        if (!decision.ok && !body.force) throw new AppError('CONFLICT', { detail: decision.why });
        return issue(name, 'drain', body.reason);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/instances/:name/drain',
      summary: 'Resume an instance',
      params,
      guard,
      responses: { 202: { description: 'the instance applies it within about two seconds' }, ...refusals },
      handle: ({ params: { name } }) => issue(name, 'resume', ''),
    }),
  ];
};

const findInstanceByName = (
  fleet: FleetSnapshot,
  name: string,
): { service: ServiceSnapshot; instance: InstanceSnapshot } => {
  for (const service of fleet.services) {
    const instance = service.instances.find((each) => each.name === name);
    if (instance) return { service, instance };
  }
  throw new AppError('NOT_FOUND', { detail: 'This fleet has no instance of this name.' });
};
