import { createHttpApp } from '@muster/http/app';
import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { answerProbe, type ProcessInfo } from '@muster/kit/probe-responses';
import { AppError } from '@muster/protocol/errors';
import type { Express } from 'express';
import type { FleetState } from '../core/fleet.ts';
import type { Incident } from '../core/incidents.ts';
import type { GatewayClient, SessionClient } from '../core/operator-ports.ts';
import type { UptimeDay } from '../core/uptime-history.ts';
import type { DrainDirectives } from '../stores/drain-directives.ts';
import type { SelfRemovals } from '../stores/self-removals.ts';
import { type ConsoleFiles, mountConsole, onlyGet } from './console-assets.ts';
import { drainRoutes } from './drain-routes.ts';
import type { FleetEvents } from './fleet-events.ts';
import { fleetRoutes } from './fleet-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { type IncidentNotes, incidentRoutes } from './incident-routes.ts';
import { createOperatorGuard } from './operator-guard.ts';
import { operatorRoutes } from './operator-routes.ts';
import { type TailTokens, tailRoute } from './tail-route.ts';
import { uptimeRoute } from './uptime-route.ts';

/** Dependencies of the public port. */
export interface ServerDeps {
  readonly fleet: FleetState;
  readonly events: FleetEvents;
  readonly incidents: () => readonly Incident[];
  /** Ids of incidents that are not stored yet. */
  readonly unsaved: () => ReadonlySet<string>;
  readonly days: () => ReadonlyMap<string, readonly UptimeDay[]>;
  readonly notes: () => IncidentNotes | undefined;
  readonly directives: DrainDirectives;
  readonly removals: SelfRemovals;
  readonly opsToken: string | undefined;
  readonly operator: OperatorClients;
  readonly files: ConsoleFiles;
  readonly hasPlayground: boolean;
  readonly health: Health;
  readonly about: ProcessInfo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Access of operators to sessions and groups; undefined without the API key for it. */
export interface OperatorClients {
  readonly sessions: SessionClient | undefined;
  readonly groups: GatewayClient | undefined;
  readonly tailTokens: TailTokens | undefined;
}

const RETRY_AFTER_S = 2;

/** The Express app of the public port. Public routes are served from memory; operator and consensus routes cause I/O. */
export const createAggregatorServer = (deps: ServerDeps): Express => {
  const { fleet, log, metrics, files, hasPlayground, operator, clock, about } = deps;
  const { snapshot } = fleet;
  const guard = createOperatorGuard(deps.opsToken);
  return createHttpApp({
    log,
    metrics,
    before: (app) => {
      mountReadiness(app, deps);
      mountEvents(app, deps.events);
      mountConsole(app, {
        files,
        hasPlayground,
        facts: () => ({ fleet: snapshot(), days: deps.days(), incidents: deps.incidents() }),
      });
    },
    routes: [
      ...healthRoutes(snapshot),
      ...fleetRoutes({ ...deps, observer: about.instance }),
      uptimeRoute(deps.days),
      ...incidentRoutes({ ...deps, guard, fleetName: () => snapshot().fleet, now: () => clock.now() }),
      ...drainRoutes({ snapshot, directives: deps.directives, guard, log }),
      ...operatorRoutes({ ...operator, guard, log }),
      tailRoute({ ...operator, guard, log }),
    ],
  });
};

/** `/readyz` on the public port shows that clients can reach it. `/health` here is that of the fleet; the ops port has that of the process. */
const mountReadiness = (app: Express, { health, about, clock }: ServerDeps): void => {
  app
    .route('/readyz')
    .get((req, res) => {
      const answer = answerProbe(health, about, '/readyz', clock.now(), req.query['service']);
      if (answer) res.writeHead(answer.status, { ...answer.headers }).end(answer.body);
    })
    .all(onlyGet);
};

const mountEvents = (app: Express, events: FleetEvents): void => {
  app
    .route('/v1/fleet/events')
    .get((_req, res) => {
      if (!events.open(res)) {
        throw new AppError('OVERLOADED', {
          detail: 'Too many event streams are open (MAX_EVENT_STREAMS). Retry in a few seconds.',
          retryAfterS: RETRY_AFTER_S,
        });
      }
    })
    .all(onlyGet);
};
