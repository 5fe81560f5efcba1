import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { commonHeaders, createRefuser, createRequestMeter, readRequestId } from '@muster/http/app';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { AppError } from '@muster/protocol/errors';
import type { ApiResponse, ServerApiCalls } from './server-api-calls.ts';

/*
 * Half of the time of an HTTP publication was Express: its routing, its response methods and its body parser. The three methods that
 * back ends call for every message are therefore served before it. Everything that is unusual about a request is left to Express,
 * untouched: another path or method, a query, a missing or invalid key, no body or one that is too large, chunked, compressed or in
 * another charset. A test sends the same requests to both and compares the answers byte by byte. No other route bypasses Express.
 */
const METHODS: ReadonlyMap<string | undefined, string> = new Map(
  ['publish', 'broadcast', 'batch'].map((method) => [`/api/${method}`, method]),
);
/** Route label of the metrics, as Express has it. */
const ROUTE = '/api/:method';

export interface HotApiRoutesDeps {
  readonly calls: ServerApiCalls;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly maxBodyBytes: number;
}

/** Serves frequent calls of the server API, and passes all other requests to `others`. */
export const serveHotApiRoutes = (deps: HotApiRoutesDeps, others: RequestListener): RequestListener => {
  const { calls, log, metrics, maxBodyBytes } = deps;
  const meter = createRequestMeter(metrics);
  const refuse = createRefuser(log, metrics);
  const routeOf = (): string => ROUTE;

  return (req, res) => {
    const method = req.method === 'POST' && hasPlainBody(req, maxBodyBytes) ? METHODS.get(req.url) : undefined;
    const permit = method === undefined ? undefined : calls.checkKey(req.headers);
    if (method === undefined || permit === undefined) return others(req, res);
    const requestId = readRequestId(req.headers);
    meter(req, res, routeOf);
    const fail = (error: unknown): void => {
      const problem = refuse(error, { requestId, method: req.method, path: String(req.url) });
      res.writeHead(problem.status, { ...commonHeaders(requestId), ...problem.headers }).end(problem.body);
    };
    readBody(req, (text) => {
      if (text === undefined) return fail(new AppError('MALFORMED_REQUEST'));
      const caller = { requestId, tenant: permit.tenant, headers: req.headers };
      calls.perform(method, text, caller).then((response) => respond(res, requestId, response), fail);
    });
  };
};

/** True for a body of a known size within the limit, in UTF-8 and without an encoding. */
const hasPlainBody = ({ headers }: IncomingMessage, maxBytes: number): boolean => {
  const bytes = Number(headers['content-length'] ?? 0);
  return (
    bytes > 0 &&
    bytes <= maxBytes &&
    headers['transfer-encoding'] === undefined &&
    headers['content-encoding'] === undefined &&
    !/charset/i.test(headers['content-type'] ?? '')
  );
};

/** Calls `done` once, with the text of the body, or undefined if the client disconnects before its end. */
const readBody = (req: IncomingMessage, done: (text: string | undefined) => void): void => {
  const parts: Buffer[] = [];
  req.on('data', (part: Buffer) => parts.push(part));
  req.once('end', () => {
    const [first = Buffer.alloc(0)] = parts;
    const text = (parts.length === 1 ? first : Buffer.concat(parts)).toString();
    // As the body parser of Express does.
    done(text.startsWith('\uFEFF') ? text.slice(1) : text);
  });
  // Before the response is closed: the metrics have the status of the refusal.
  req.once('aborted', () => done(undefined));
};

const respond = (res: ServerResponse, requestId: string, { status, type, body }: ApiResponse): void => {
  const headers = {
    ...commonHeaders(requestId),
    'Content-Type': `${type}; charset=utf-8`,
    'Content-Length': Buffer.byteLength(body),
  };
  res.writeHead(status, headers).end(body);
};
