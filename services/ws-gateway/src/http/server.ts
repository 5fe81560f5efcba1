import type { RequestListener } from 'node:http';
import { createHttpApp } from '@muster/http/app';
import { type Route, route } from '@muster/http/route';
import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import type { Logger } from '@muster/kit/logger';
import { answerProbe, type ProcessInfo } from '@muster/kit/probe-responses';
import { AppError } from '@muster/protocol/errors';
import type { Express } from 'express';
import { serveHotApiRoutes } from './hot-api-routes.ts';
import { createServerApiCalls, type ServerApiCalls, type ServerApiCallsDeps } from './server-api-calls.ts';
import { mountServerApi } from './server-api-routes.ts';

export interface HttpServerDeps extends ServerApiCallsDeps {
  readonly health: Health;
  readonly about: ProcessInfo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly maxBodyBytes: number;
}

/** HTTP routes of the public port, besides upgrades. */
export const createGatewayServer = (deps: HttpServerDeps): RequestListener => {
  const calls = createServerApiCalls(deps);
  return serveHotApiRoutes({ ...deps, calls }, createExpressApp(deps, calls));
};

/** The same routes without the hot path. */
export const createExpressApp = (deps: HttpServerDeps, calls: ServerApiCalls): Express =>
  createHttpApp({
    log: deps.log,
    metrics: deps.metrics,
    before: (app) => mountServerApi(app, { ...deps, calls, version: deps.about.version }),
    routes: [
      probe(deps, '/readyz', 'Readiness of this replica'),
      probe(deps, '/health', 'Health of this replica and its dependencies'),
      socketEndpoint('/connection/websocket'),
      socketEndpoint('/ws'),
    ],
  });

const probe = ({ health, about, clock }: HttpServerDeps, path: string, summary: string): Route =>
  route({
    method: 'get',
    path,
    summary,
    responses: {
      200: { description: 'Ready or healthy.' },
      503: { description: 'Not ready, or unhealthy.' },
    },
    handle: ({ req }) => {
      const answer = answerProbe(health, about, path, clock.now(), req.query['service']);
      if (answer === undefined) throw new AppError('NOT_FOUND');
      return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.body) };
    },
  });

const socketEndpoint = (path: string): Route =>
  route({
    method: 'get',
    path,
    summary: 'WebSocket',
    responses: { 101: { description: 'The socket is open.' } },
    handle: () => {
      throw new AppError('MALFORMED_REQUEST', { detail: 'Expected a WebSocket handshake (RFC 6455).' });
    },
  });
