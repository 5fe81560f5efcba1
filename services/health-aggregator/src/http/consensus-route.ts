import { type Route, route } from '@muster/http/route';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault } from '@muster/kit/redis/connection';
import { z } from 'zod';
import type { FleetState } from '../core/fleet.ts';
import type { SelfRemovals } from '../stores/self-removals.ts';

/** What the route needs. */
export interface ConsensusDeps {
  readonly fleet: Pick<FleetState, 'consensus'>;
  readonly removals: SelfRemovals;
  readonly log: Logger;
}

/** `GET /v1/deps/:dep/consensus?except=`: an instance that cannot reach a store asks whether it is the only one. */
export const consensusRoute = ({ fleet, removals, log }: ConsensusDeps): Route =>
  route({
    method: 'get',
    path: '/v1/deps/:dep/consensus',
    summary: 'What everybody but one says about a dependency, and whether that one may leave the pool',
    params: z.object({ dep: z.string().regex(/^[a-z0-9-]{1,32}$/) }),
    query: z.object({ except: z.string().max(64).default('') }),
    responses: { 200: { description: 'observers, failing, isLocal, granted' } },
    handle: async ({ params: { dep }, query: { except } }) => {
      const { quota, ...consensus } = fleet.consensus(dep, except);
      const granted =
        consensus.isLocal &&
        quota !== undefined &&
        (await removals.grant(quota.service, except, quota.most).catch((error: unknown) => {
          // Without the slots that all aggregators share nobody may leave.
          if (!isRedisFault(error)) throw error;
          return false;
        }));
      if (granted)
        log.info({ dependency: dep, id: except, of: quota?.service }, 'consensus.withdrawal_granted');
      return { status: 200, body: { dependency: dep, ...consensus, granted } };
    },
  });
