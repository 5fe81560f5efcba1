import type { RequestListener } from 'node:http';
import { createHttpApp } from '@muster/http/app';
import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { answerProbe, type ProcessInfo } from '@muster/kit/probe-responses';
import type { Express } from 'express';
import { apiKeyRoutes } from './api-key-routes.ts';
import { changeRoutes } from './change-routes.ts';
import { checkRoutes } from './check-routes.ts';
import type { HttpContext } from './context.ts';
import { createSessionFastPath } from './create-session-fast-path.ts';
import { diagnosticsRoutes } from './diagnostics-routes.ts';
import { eventRoutes } from './event-routes.ts';
import { guestRoutes } from './guest-routes.ts';
import { impersonationRoutes } from './impersonation-routes.ts';
import { oidcRoutes } from './oidc-routes.ts';
import { ownSessionRoutes } from './own-session-routes.ts';
import { searchRoutes } from './search-routes.ts';
import { serviceRoutes } from './service-routes.ts';
import { userRoutes } from './user-routes.ts';

interface ServerDeps {
  readonly context: HttpContext;
  readonly health: Health;
  readonly about: ProcessInfo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly trustedProxies: readonly string[];
}

/** The public API of the session service. */
export const createSessionServer = (deps: ServerDeps): RequestListener => {
  const { context, health, about, clock, log, metrics, trustedProxies } = deps;
  const app = createHttpApp({
    log,
    metrics,
    trustProxy: trustedProxies,
    before: (app) => mountProbes(app, { health, about, clock }),
    routes: [
      // Literal paths precede paths with an id in the same segment.
      ...searchRoutes(context),
      ...checkRoutes(context),
      ...ownSessionRoutes(context),
      ...guestRoutes(context),
      ...serviceRoutes(context),
      ...impersonationRoutes(context),
      ...changeRoutes(context),
      ...userRoutes(context),
      ...eventRoutes(context),
      ...oidcRoutes(context),
      ...apiKeyRoutes(context),
      ...diagnosticsRoutes(context),
    ],
    documents: {
      title: 'Muster sessions',
      version: about.version,
      description: 'Sessions of users and guests on their devices: open, check, change and end them.',
      cookieName: context.config.cookie.name,
    },
  });
  return createSessionFastPath({ context, log, metrics, trustedProxies, otherwise: app });
};

/** Answers `/readyz` and `/health` on the public port, so that a probe tests the path that clients take. */
const mountProbes = (app: Express, { health, about, clock }: Pick<ServerDeps, 'health' | 'about' | 'clock'>): void => {
  app.get(['/readyz', '/health'], (req, res) => {
    const answer = answerProbe(health, about, req.path, clock.now(), req.query['service']);
    if (answer !== undefined) res.writeHead(answer.status, { ...answer.headers }).end(answer.body);
  });
};
