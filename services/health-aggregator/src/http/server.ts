import { createHttpApp } from '@muster/http/app';
import { type Route, route } from '@muster/http/route';
import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { answerProbe, type ProcessInfo } from '@muster/kit/probes';
import { AppError } from '@muster/protocol/errors';
import type { Express } from 'express';
import { z } from 'zod';
import { capacityOf } from '../core/capacity.ts';
import type { FleetState } from '../core/fleet.ts';
import type { FleetSnapshot } from '../core/fleet-snapshot.ts';
import type { Incident } from '../core/incidents.ts';
import type { GatewayClient, SessionClient } from '../core/operator-ports.ts';
import type { UptimeDay } from '../core/uptime-history.ts';
import type { DrainDirectives } from '../stores/drain-directives.ts';
import type { SelfRemovals } from '../stores/self-removals.ts';
import { consensusRoute } from './consensus-route.ts';
import { type ConsoleFiles, mountConsole, onlyGet } from './console-assets.ts';
import { drainRoutes } from './drain-routes.ts';
import type { FleetEvents } from './fleet-events.ts';
import { healthRoutes } from './health-routes.ts';
import { type IncidentNotes, incidentRoutes } from './incident-routes.ts';
import { createOperatorGuard } from './operator-guard.ts';
import { operatorRoutes } from './operator-routes.ts';
import { scrapeGroups } from './service-discovery.ts';
import { type TailTokens, tailRoute } from './tail-route.ts';
import { historyRoutes } from './uptime-routes.ts';

/** What the public port of the aggregator is made of. */
export interface ServerDeps {
  readonly fleet: FleetState;
  readonly streams: FleetEvents;
  readonly incidents: () => readonly Incident[];
  readonly unsaved: () => ReadonlySet<string>;
  readonly days: () => ReadonlyMap<string, readonly UptimeDay[]>;
  readonly notes: () => IncidentNotes | undefined;
  readonly directives: DrainDirectives;
  readonly removals: SelfRemovals;
  readonly opsToken: string | undefined;
  readonly desks: OperatorClients;
  readonly files: ConsoleFiles;
  readonly hasPlayground: boolean;
  readonly health: Health;
  readonly about: ProcessInfo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Through which operators look into sessions and groups; each is undefined without its key. */
export interface OperatorClients {
  readonly sessions: SessionClient | undefined;
  readonly groups: GatewayClient | undefined;
  readonly tailTokens: TailTokens | undefined;
}

const RETRY_AFTER_S = 2;

/** The Express app of the public port. Answers to the public come from memory; only operators, and instances in need, cause I/O. */
export const createServer = (deps: ServerDeps): Express => {
  const { fleet, log, metrics, files, hasPlayground, desks } = deps;
  const view = (): FleetSnapshot => fleet.snapshot();
  const guard = createOperatorGuard(deps.opsToken);
  return createHttpApp({
    log,
    metrics,
    before: (app) => {
      mountReadiness(app, deps);
      mountEvents(app, deps.streams);
      mountConsole(app, {
        files,
        hasPlayground,
        facts: () => ({ view: view(), days: deps.days(), incidents: deps.incidents() }),
      });
    },
    routes: [
      ...healthRoutes(view),
      fleetRoute(view, deps.about.instance),
      capacityRoute(view),
      discoveryRoute(fleet),
      consensusRoute(deps),
      ...historyRoutes({ ...deps, name: () => view().fleet, now: () => deps.clock.now() }),
      ...incidentRoutes({ ...deps, guard }),
      ...drainRoutes({ view, directives: deps.directives, guard, log }),
      ...operatorRoutes({ ...desks, guard, log }),
      tailRoute({ ...desks, guard, log }),
    ],
  });
};

/** The public port proves the way that clients come in; `/health` here is the fleet's, the instance's is on the ops port. */
const mountReadiness = (app: Express, { health, about, clock }: ServerDeps): void => {
  app
    .route('/readyz')
    .get((req, res) => {
      const answer = answerProbe(health, about, '/readyz', clock.now(), req.query['service']);
      if (answer) res.writeHead(answer.status, { ...answer.headers }).end(answer.body);
    })
    .all(onlyGet);
};

const mountEvents = (app: Express, streams: FleetEvents): void => {
  app
    .route('/v1/fleet/events')
    .get((_req, res) => {
      if (!streams.open(res)) {
        throw new AppError('OVERLOADED', { detail: 'Too many event streams.', retryAfterS: RETRY_AFTER_S });
      }
    })
    .all(onlyGet);
};

const fleetRoute = (view: () => FleetSnapshot, observer: string): Route =>
  route({
    method: 'get',
    path: '/v1/fleet',
    summary: 'Everything this aggregator knows, with its age',
    responses: {
      200: { description: 'the snapshot' },
      304: { description: 'nothing but ages changed since the version of If-None-Match' },
    },
    handle: ({ req }) => {
      const body = view();
      // Weak: two answers of one version differ in ages. The observer and its start keep versions of replicas apart.
      const tag = `W/"${observer}-${Date.parse(body.observer.startedAt).toString(36)}-${body.version}"`;
      const headers = { ETag: tag, 'Cache-Control': 'no-cache' };
      const known = (req.headers['if-none-match'] ?? '').split(',').some((one) => one.trim() === tag);
      return known ? { status: 304, headers } : { status: 200, headers, body };
    },
  });

const capacityRoute = (view: () => FleetSnapshot): Route =>
  route({
    method: 'get',
    path: '/v1/capacity',
    summary: 'How full each service is, for autoscalers',
    responses: {
      200: { description: 'used, limit and advice by service' },
      503: { description: 'not known: keep the replicas you have' },
    },
    handle: () => {
      const now = view();
      const capacity = capacityOf(now);
      if (Object.keys(capacity).length === 0) {
        throw new AppError('OVERLOADED', { detail: 'No capacity is known.', retryAfterS: RETRY_AFTER_S });
      }
      return {
        status: 200,
        headers: { 'Cache-Control': 'max-age=1' },
        body: { ...capacity, asOf: now.asOf, ageMs: now.ageMs },
      };
    },
  });

const discoveryRoute = (fleet: FleetState): Route =>
  route({
    method: 'get',
    path: '/sd/prometheus',
    summary: 'Scrape targets in the http_sd format of Prometheus',
    query: z.object({ service: z.string().max(64).optional() }),
    responses: {
      200: { description: 'one group for each instance' },
      503: { description: 'nothing is known: keep the targets you have' },
    },
    handle: ({ query }) => {
      const groups = scrapeGroups(fleet.monitors(), query.service);
      if (!groups)
        throw new AppError('OVERLOADED', { detail: 'No instance is known yet.', retryAfterS: RETRY_AFTER_S });
      return { status: 200, body: groups };
    },
  });
