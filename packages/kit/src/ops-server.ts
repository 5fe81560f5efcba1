import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, type Clock } from './clock.ts';
import type { Health } from './health.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import { answerProbe, type ProcessInfo } from './probe-responses.ts';

interface OpsServerOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly health: Health;
  readonly about: ProcessInfo;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Internal plane of a service: called first, returns true if it handles the request. */
  readonly handle?: (req: IncomingMessage, res: ServerResponse) => boolean;
}

/** Server for operators and other replicas: probes, `/metrics` and the internal plane. */
export interface OpsServer extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
}

/** Listens; rejects when the port is taken. */
export const openOpsServer = async (options: OpsServerOptions): Promise<OpsServer> => {
  const { health, about, metrics, clock, log } = options;
  const send = (res: ServerResponse, status: number, headers: Record<string, string>, body: string) => {
    res.writeHead(status, headers).end(body);
  };
  const respond = async (req: IncomingMessage, res: ServerResponse) => {
    if (options.handle?.(req, res)) return;
    const path = new URL(req.url ?? '/', 'http://ops').pathname;
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      return send(res, 405, { allow: 'GET, HEAD', 'content-type': PROBLEM }, problem(405, 'Method not allowed'));
    }
    if (path === '/metrics') return send(res, 200, { 'content-type': metrics.contentType }, await metrics.render());
    const probe = answerProbe(health, about, path, clock.now());
    if (probe !== undefined) return send(res, probe.status, probe.headers, probe.body);
    return send(res, 404, { 'content-type': PROBLEM }, problem(404, 'Not found'));
  };
  const server = createServer((req, res) => {
    // A kept connection would race against the end of this process.
    if (health.state() === 'draining') res.shouldKeepAlive = false;
    respond(req, res).catch((error: unknown) => {
      log.error({ error }, 'ops.request_failed');
      if (!res.headersSent) send(res, 500, { 'content-type': PROBLEM }, problem(500, 'Internal error'));
    });
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port, options.host, resolve);
  });
  let closing: Promise<void> | undefined;
  return {
    server,
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => {
      closing ??= closeServer(server);
      return closing;
    },
  };
};

/** Answers the requests that have arrived. */
const closeServer = async (server: Server): Promise<void> => {
  // After a poll: a request that waits in the kernel makes its connection busy.
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  const stopGrace = after(CLOSE_GRACE_MS, () => server.closeAllConnections());
  await new Promise((resolve) => server.close(resolve));
  stopGrace();
};

/** Longest wait for requests in flight. */
const CLOSE_GRACE_MS = 1_000;

const PROBLEM = 'application/problem+json';
const problem = (status: number, title: string): string => JSON.stringify({ type: 'about:blank', title, status });
