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

/** What the routes need. */
export interface DrainRoutesDeps {
  readonly view: () => FleetSnapshot;
  readonly directives: DrainDirectives;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

const params = z.object({ name: z.string().min(1).max(128) });
const refusals = {
  401: { description: 'no operator token, or a wrong one' },
  403: { description: 'this aggregator takes no orders' },
  404: { description: 'no instance has this name' },
  503: { description: 'the registry cannot be written' },
} as const;

/** Taking an instance out of service and back: `POST` and `DELETE /v1/instances/:name/drain`. */
export const drainRoutes = ({ view, directives, guard, log }: DrainRoutesDeps): Route[] => {
  const issue = async (name: string, kind: 'drain' | 'resume', reason: string): Promise<RouteReply> => {
    const { instance, service } = findInstanceByName(view(), name);
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
      summary: 'Send an instance no new clients',
      params,
      body: z
        .strictObject({ reason: z.string().max(200).default(''), force: z.boolean().default(false) })
        .prefault({}),
      guard,
      responses: {
        202: { description: 'the instance follows within about two seconds' },
        409: { description: 'too few others would go on serving; `force` insists' },
        422: { description: 'the body is not valid' },
        ...refusals,
      },
      handle: ({ params: { name }, body }) => {
        const verdict = mayDrain(findInstanceByName(view(), name).service, name);
        if (!verdict.ok && !body.force) throw new AppError('CONFLICT', { detail: verdict.why });
        return issue(name, 'drain', body.reason);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/instances/:name/drain',
      summary: 'Send an instance clients again',
      params,
      guard,
      responses: { 202: { description: 'the instance follows within about two seconds' }, ...refusals },
      handle: ({ params: { name } }) => issue(name, 'resume', ''),
    }),
  ];
};

const findInstanceByName = (
  view: FleetSnapshot,
  name: string,
): { service: ServiceSnapshot; instance: InstanceSnapshot } => {
  for (const service of view.services) {
    const instance = service.instances.find((one) => one.name === name);
    if (instance) return { service, instance };
  }
  throw new AppError('NOT_FOUND', { detail: 'No instance of this name is known.' });
};
