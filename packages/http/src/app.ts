import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { createRefusalLog, type RefusalLog } from '@muster/kit/refusal-log';
import { AppError } from '@muster/protocol/errors';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import { v4 } from 'uuid';
import { type AddressReader, createAddressReader } from './client-address.ts';
import { docsRoutes } from './docs.ts';
import type { DocumentInfo } from './openapi.ts';
import { pipeline } from './pipeline.ts';
import { type Problem, toProblem } from './problem.ts';
import type { Route } from './route.ts';
import { ValidationFailure } from './validation.ts';

export interface HttpAppOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly routes: readonly Route[];
  /** Limit of request bodies in bytes; default 64 KiB. */
  readonly bodyLimitBytes?: number;
  /** Addresses and networks of proxies whose `X-Forwarded-For` is trusted. Default: none. */
  readonly trustProxy?: readonly string[];
  /** Mounts handlers other than JSON routes (pages, assets, event streams) before the routes. */
  readonly before?: (app: Express) => void;
  /** Serves `/openapi.json` and `/docs`. */
  readonly documents?: DocumentInfo;
}

const DEFAULT_BODY_LIMIT_BYTES = 65_536;
const REQUEST_ID = /^[\w-]{8,64}$/;

/**
 * The Express app of a service: every request has an id, nothing is cached unless a route sets it, unknown paths and methods are problems
 * (404, 405 with `Allow`), and every thrown error becomes a problem in one handler.
 */
export const createHttpApp = (options: HttpAppOptions): Express => {
  const app = express();
  // Before the first route: `/v1/me/sessions/` is another path than `/v1/me/sessions`, and an id is never empty.
  app.enable('strict routing');
  app.enable('case sensitive routing');
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.set('trust proxy', [...(options.trustProxy ?? [])]);
  readAddressesWith(app, createAddressReader(options.trustProxy ?? []));
  app.use(identify, metered(createRequestMeter(options.metrics)));
  options.before?.(app);
  if (options.documents !== undefined) app.use(docsRoutes(options.documents, options.routes));
  mount(app, options.routes, options.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES);
  app.use(() => {
    throw new AppError('NOT_FOUND', { detail: 'No resource exists at this path.' });
  });
  app.use(answerErrors(createRefuser(options.log, options.metrics)));
  return app;
};

/** `req.ip` of every request; Express does not parse ports and brackets in `X-Forwarded-For`. */
const readAddressesWith = (app: Express, addressOf: AddressReader): void => {
  Object.defineProperty(app.request, 'ip', {
    get(this: express.Request) {
      const forwardedFor = this.headers['x-forwarded-for'];
      return addressOf({ remote: this.socket.remoteAddress, forwardedFor });
    },
  });
};

/** Registers each path once with all its methods, so that every other method is a 405. */
const mount = (app: Express, routes: readonly Route[], bodyLimitBytes: number): void => {
  for (const [path, ofPath] of Map.groupBy(routes, (route) => route.path)) {
    const registered = app.route(path);
    for (const one of ofPath) registered[one.method](pipeline(one, bodyLimitBytes));
    const allow = ofPath
      .flatMap(({ method }) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()]))
      .join(', ');
    registered.all((_req, res) => {
      res.setHeader('Allow', allow);
      throw new AppError('METHOD_NOT_ALLOWED', { detail: `Allowed methods: ${allow}.` });
    });
  }
};

/** The id of a request: `X-Request-Id` of the client or the load balancer if it has the form of an id, else a generated id. */
export const readRequestId = (headers: IncomingHttpHeaders): string => {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : v4();
};

/** Headers of every response. */
export const commonHeaders = (requestId: string) =>
  ({ 'X-Request-Id': requestId, 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' }) as const;

const identify: RequestHandler = (req, res, next) => {
  const id = readRequestId(req.headers);
  res.locals['requestId'] = id;
  for (const [name, value] of Object.entries(commonHeaders(id))) res.setHeader(name, value);
  next();
};

/** The id of the request in logs and problem bodies. */
export const requestIdOf = (res: express.Response): string => String(res.locals['requestId']);

/** Counts a request while it is active, and measures its duration. `routeOf` is called when the response is closed. */
export type RequestMeter = (req: IncomingMessage, res: ServerResponse, routeOf: () => string) => void;

export const createRequestMeter = (metrics: Metrics): RequestMeter => {
  const duration = metrics.histogram('http_server_request_duration_seconds');
  const active = metrics.gauge('http_server_active_requests').with({});
  return (req, res, routeOf) => {
    const startedAt = performance.now();
    active.inc();
    res.once('close', () => {
      active.dec();
      const method = KNOWN_METHODS.find((known) => known === req.method) ?? OTHER;
      const labels = {
        http_request_method: method,
        http_route: routeOf(),
        http_response_status_code: res.statusCode,
      };
      duration.observe(labels, (performance.now() - startedAt) / 1000);
    });
  };
};

const metered =
  (meter: RequestMeter): RequestHandler =>
  (req, res, next) => {
    meter(req, res, () => String((req.route as { path?: unknown } | undefined)?.path ?? 'none'));
    next();
  };

const KNOWN_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
const OTHER = 'other' as const;

/** The request of a refusal, for the log. */
interface RefusedRequest {
  readonly requestId: string;
  readonly method: string | undefined;
  readonly path: string;
}

/** Counts and logs a thrown error, and returns the problem to be answered. */
export const createRefuser = (
  log: Logger,
  metrics: Metrics,
): ((error: unknown, request: RefusedRequest) => Problem) => {
  const refusals = metrics.counter('http_server_refusals_total');
  const refused = createRefusalLog(log);
  return (error, request) => {
    const problem = toProblem(error, request.requestId);
    refusals.inc({ code: problem.code });
    report({ log, refused }, problem, error, request);
    return problem;
  };
};

const answerErrors =
  (refuse: ReturnType<typeof createRefuser>): ErrorRequestHandler =>
  (error, req, res, next) => {
    const { method, path } = req;
    const problem = refuse(error, { requestId: requestIdOf(res), method, path, ...res.locals['principal'] });
    if (res.headersSent) return next(error); // Express then closes the connection: the response cannot be changed any more.
    // A connection with an unread body cannot be reused.
    if (!req.complete) res.setHeader('Connection', 'close');
    res.writeHead(problem.status, { ...problem.headers }).end(problem.body);
  };

/** Statuses of refusals that are logged, without any input of the caller. */
const LOGGED_STATUSES: ReadonlySet<number> = new Set([400, 401, 403, 422, 429]);

const report = (
  { log, refused }: { log: Logger; refused: RefusalLog },
  problem: Problem,
  error: unknown,
  fields: object,
): void => {
  if (problem.status === 500) log.error({ ...fields, error }, 'http.request_failed');
  else if (problem.status === 503) log.debug({ ...fields, error }, 'http.request_refused');
  else if (LOGGED_STATUSES.has(problem.status)) {
    const { status } = problem;
    refused('http.request_refused', {
      reason: problem.code.toLowerCase(),
      status,
      ...failuresOf(error),
      ...fields,
    });
  }
};

/** Location and type of the failures of a request, without names and values of the caller. */
const failuresOf = (error: unknown): object => {
  if (!(error instanceof ValidationFailure)) return {};
  return { failures: error.failures.slice(0, MAX_FAILURES).map(({ loc, type }) => `${loc[0]}: ${type}`) };
};

const MAX_FAILURES = 5;
