import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { after, type Clock } from '@muster/kit/clock';
import type { DependencyReading, ObservedHeartbeat, Probe, ProbeOutcome, ProbeResult } from '../core/ports.ts';

const MAX_BODY_BYTES = 65_536;
const OUTCOMES: Readonly<Record<string, ProbeOutcome>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  PROBE_TIMEOUT: 'timeout',
  ETIMEDOUT: 'timeout',
  NOT_HTTP: 'bad_body',
};

interface ProbeOptions {
  readonly clock: Clock;
  /** Timeout of each of the two requests. */
  readonly timeoutMs: number;
}

/**
 * Probes instances over HTTP: `/readyz` on the public address over a new connection, as a client connects; and, if heartbeats are
 * not sufficient, the health body of the ops address, which has the dependencies of the instance. Disposing closes kept connections.
 */
export const createHttpProbe = (options: ProbeOptions): Disposable & { readonly probe: Probe } => {
  const kept = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 256, timeout: 30_000 });
  return {
    probe: async (target) => {
      const requestHealth = () => requestBody(`http://${target.opsAddress}/health`, options, kept);
      const requested = target.wantsDetail ? requestHealth() : undefined;
      const ready = await requestReadiness(target.address, options);
      // The health body of an unready instance has the cause: it may be draining.
      const health = await (requested ?? (ready.status === 503 ? requestHealth() : undefined));
      const report = health === undefined ? {} : readHealth(health);
      return { outcome: outcomeOf(ready), durationMs: ready.tookMs, ...report };
    },
    [Symbol.dispose]: () => kept.destroy(),
  };
};

const outcomeOf = ({ status, fault }: StatusResponse): ProbeOutcome => {
  if (fault !== undefined) return OUTCOMES[fault] ?? 'unreachable';
  if (status === 200) return 'ok';
  return status === 503 ? 'unready' : 'http_error';
};

/** Body of a GET within the timeout; undefined after any failure. */
const requestBody = (url: string, { timeoutMs }: ProbeOptions, agent: Agent): Promise<string | undefined> =>
  new Promise((resolve) => {
    const settle = (body: string | undefined): void => {
      stop();
      resolve(body);
    };
    const fail = (): void => {
      settle(undefined);
      request.destroy();
    };
    const request = get(url, { agent, headers: { accept: 'application/json' } }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > MAX_BODY_BYTES) fail();
        else parts.push(part);
      });
      response.on('end', () => settle(Buffer.concat(parts).toString()));
      response.on('error', fail);
    });
    request.on('error', fail);
    const stop = after(timeoutMs, fail);
  });

const STATES: ReadonlySet<unknown> = new Set(['starting', 'ready', 'degraded', 'draining']);

/** State and dependencies in a health body; empty for any other body. */
export const readHealth = (body: string): Pick<ProbeResult, 'state' | 'dependencies'> => {
  try {
    const { state, checks } = JSON.parse(body) as { state?: unknown; checks?: unknown };
    if (typeof checks !== 'object' || checks === null) return {};
    const dependencies = Object.fromEntries(Object.entries(checks).map(([name, check]) => [name, readCheck(check)]));
    return STATES.has(state) ? { state: state as ObservedHeartbeat['state'], dependencies } : { dependencies };
  } catch {
    return {}; // Not the body of a Muster service; its readiness is known from the status.
  }
};

const readCheck = (check: unknown): DependencyReading => {
  const { status, latency_ms: latencyMs, for_ms: forMs, reason } = (check ?? {}) as Readonly<Record<string, unknown>>;
  return {
    status: status === 'up' || status === 'down' ? status : 'unknown',
    ...(typeof latencyMs === 'number' ? { latencyMs } : {}),
    ...(typeof forMs === 'number' ? { forMs } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
  };
};

const MAX_STATUS_LINE_BYTES = 1_024;
const STATUS_LINE = /^HTTP\/1\.[01] (\d{3}) /;

/** The status of a response, or the code of a failure. */
interface StatusResponse {
  readonly status?: number;
  readonly fault?: string;
  readonly tookMs: number;
}

/**
 * GET `/readyz` over a new connection; only the status line is read. An HTTP client costs three times the CPU time, at
 * hundreds of probes per second.
 */
const requestReadiness = (address: string, { clock, timeoutMs }: ProbeOptions): Promise<StatusResponse> =>
  new Promise((resolve) => {
    const startedAt = clock.monotonic();
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) });
    const settle = (response: Omit<StatusResponse, 'tookMs'>): void => {
      stop();
      socket.destroy();
      resolve({ ...response, tookMs: clock.monotonic() - startedAt });
    };
    const stop = after(timeoutMs, () => settle({ fault: 'PROBE_TIMEOUT' }));
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\r\n');
      if (end < 0 && text.length < MAX_STATUS_LINE_BYTES) return;
      const status = STATUS_LINE.exec(text)?.[1];
      settle(status === undefined ? { fault: 'NOT_HTTP' } : { status: Number(status) });
    });
    // Only the first call of settle has an effect.
    socket.on('end', () => settle({ fault: 'ECONNRESET' }));
    socket.on('error', (error: NodeJS.ErrnoException) => settle({ fault: error.code ?? 'UNKNOWN' }));
    socket.write(`GET /readyz HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
  });
