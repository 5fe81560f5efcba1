import { type Route, route } from '@muster/http/route';
import type { Logger } from '@muster/kit/logger';
import { isRedisFault } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import { capacityOf } from '../core/capacity.ts';
import type { FleetState } from '../core/fleet.ts';
import type { InstanceMonitor } from '../core/instance-monitor.ts';
import type { SelfRemovals } from '../stores/self-removals.ts';

const RETRY_AFTER_S = 2;

interface FleetRoutesDeps {
  readonly fleet: FleetState;
  /** Name of this aggregator. */
  readonly observer: string;
  readonly removals: SelfRemovals;
  readonly log: Logger;
}

/** Routes that expose the model to machines: snapshot, capacity, scrape targets, and the consensus on a dependency. */
export const fleetRoutes = (deps: FleetRoutesDeps): Route[] => [
  snapshotRoute(deps),
  capacityRoute(deps),
  discoveryRoute(deps),
  consensusRoute(deps),
];

const snapshotRoute = ({ fleet, observer }: FleetRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/fleet',
    summary: 'Snapshot of the fleet, with its age',
    responses: {
      200: { description: 'the snapshot' },
      304: { description: 'only ages have changed since the version of If-None-Match' },
    },
    handle: ({ req }) => {
      const body = fleet.snapshot();
      // Weak: two responses of one version differ in ages. The observer and its start distinguish replicas.
      const tag = `W/"${observer}-${Date.parse(body.observer.startedAt).toString(36)}-${body.version}"`;
      const headers = { ETag: tag, 'Cache-Control': 'no-cache' };
      const isKnown = (req.headers['if-none-match'] ?? '').split(',').some((each) => each.trim() === tag);
      return isKnown ? { status: 304, headers } : { status: 200, headers, body };
    },
  });

const capacityRoute = ({ fleet }: FleetRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/capacity',
    summary: 'Utilisation of each service, for autoscalers',
    responses: {
      200: { description: 'used, limit and advice by service' },
      503: { description: 'unknown: keep the present number of replicas' },
    },
    handle: () => {
      const snapshot = fleet.snapshot();
      const capacity = capacityOf(snapshot);
      if (Object.keys(capacity).length === 0) {
        throw new AppError('OVERLOADED', { detail: 'No capacity is known yet.', retryAfterS: RETRY_AFTER_S });
      }
      const { asOf, ageMs } = snapshot;
      return { status: 200, headers: { 'Cache-Control': 'max-age=1' }, body: { ...capacity, asOf, ageMs } };
    },
  });

const discoveryRoute = ({ fleet }: FleetRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/sd/prometheus',
    summary: 'Scrape targets in the http_sd format of Prometheus',
    query: z.object({ service: z.string().max(64).optional() }),
    responses: {
      200: { description: 'a group for each instance' },
      503: { description: 'no instance is known: Prometheus keeps its targets' },
    },
    handle: ({ query }) => {
      const groups = scrapeGroups(fleet.monitors(), query.service);
      if (!groups)
        throw new AppError('OVERLOADED', { detail: 'No instance is known yet.', retryAfterS: RETRY_AFTER_S });
      return { status: 200, body: groups };
    },
  });

/**
 * Scrape targets: every instance that is not gone. An instance that is down stays listed: without its target the `up` series ends,
 * and no alert on `up == 0` fires. Undefined without any instance: Prometheus drops all targets for an empty list, and keeps them
 * after a 503.
 */
export const scrapeGroups = (monitors: readonly InstanceMonitor[], service: string | undefined) => {
  const groups = monitors
    .filter(({ state, heartbeat }) => state !== 'gone' && (service ?? heartbeat.service) === heartbeat.service)
    .map(({ heartbeat, state, id }) => ({
      targets: [heartbeat.opsAddress],
      labels: {
        __meta_fleet_service: heartbeat.service,
        __meta_fleet_instance_name: heartbeat.name,
        __meta_fleet_instance_id: id,
        __meta_fleet_version: heartbeat.version,
        __meta_fleet_state: state,
        __meta_fleet_metrics_path: '/metrics',
      },
    }));
  if (groups.length === 0) return undefined;
  const unique = new Map(groups.map((group) => [group.targets[0], group]));
  return [...unique.values()].sort((a, b) => (a.targets[0] ?? '').localeCompare(b.targets[0] ?? ''));
};

const consensusRoute = ({ fleet, removals, log }: FleetRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/deps/:dep/consensus',
    summary: 'Reports of all other instances on a dependency, and whether one instance may withdraw',
    params: z.object({ dep: z.string().regex(/^[a-z0-9-]{1,32}$/) }),
    query: z.object({ except: z.string().max(64).default('') }),
    responses: { 200: { description: 'observers, failing, isLocal, granted' } },
    handle: async ({ params: { dep }, query: { except } }) => {
      const { quota, ...consensus } = fleet.consensus(dep, except);
      const granted =
        consensus.isLocal &&
        quota !== undefined &&
        (await removals.grant(quota.service, except, quota.most).catch((error: unknown) => {
          // Without the slots in Redis no instance may withdraw.
          if (!isRedisFault(error)) throw error;
          return false;
        }));
      if (granted) log.info({ dependency: dep, id: except, of: quota?.service }, 'consensus.withdrawal_granted');
      return { status: 200, body: { dependency: dep, ...consensus, granted } };
    },
  });
