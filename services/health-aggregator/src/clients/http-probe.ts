import { Agent, get } from 'node:http';
import { after, type Clock } from '@muster/kit/clock';
import type {
  DependencyReading,
  ObservedHeartbeat,
  Probe,
  ProbeOutcome,
  ProbeResult,
} from '../core/ports.ts';
import { askStatus, type StatusAnswer } from './status-client.ts';

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
  /** Longest wait for each of the two answers. */
  readonly timeoutMs: number;
}

/** Probes that share a few kept connections; disposing closes them. */
export interface HttpProbe extends Disposable {
  readonly probe: Probe;
}

/**
 * Probes instances over HTTP: `/readyz` on the public address over a new connection, which proves that the way
 * clients come in is open; and, where heartbeats do not tell enough, the health body of the ops address over a kept one,
 * which says what the instance thinks of its dependencies.
 */
export const createHttpProbe = (options: ProbeOptions): HttpProbe => {
  const kept = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 256, timeout: 30_000 });
  return {
    probe: async (target) => {
      const detail = (): Promise<Answer> => ask(`http://${target.opsAddress}/health`, options, kept);
      const asked = target.wantsDetail ? detail() : undefined;
      const ready = await askStatus(target.address, '/readyz', options);
      // One that says it is not ready is asked at once why: it may be draining.
      const health = await (asked ?? (ready.status === 503 ? detail() : SILENCE));
      const said = health.status === undefined ? {} : readHealth(health.body);
      return { outcome: outcomeOf(ready), durationMs: ready.tookMs, ...said };
    },
    [Symbol.dispose]: () => kept.destroy(),
  };
};

/** A health body; no status when there was none. */
interface Answer {
  readonly status?: number;
  readonly body: string;
}

const SILENCE: Answer = { body: '' };

const outcomeOf = ({ status, fault }: StatusAnswer): ProbeOutcome => {
  if (fault !== undefined) return OUTCOMES[fault] ?? 'unreachable';
  if (status === 200) return 'ok';
  return status === 503 ? 'unready' : 'http_error';
};

/** One GET with a time limit over all of it; what goes wrong is silence. */
const ask = (url: string, { timeoutMs }: ProbeOptions, agent: Agent): Promise<Answer> =>
  new Promise((resolve) => {
    const settle = (answer: Answer): void => {
      stop();
      resolve(answer);
    };
    const fail = (): void => {
      settle(SILENCE);
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
      response.on('end', () =>
        settle({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
      );
      response.on('error', fail);
    });
    request.on('error', fail);
    const stop = after(timeoutMs, fail);
  });

const STATES: ReadonlySet<unknown> = new Set(['starting', 'ready', 'degraded', 'draining']);

/** What a health body says of the instance and its dependencies; nothing when the body is something else. */
export const readHealth = (body: string): Pick<ProbeResult, 'state' | 'dependencies'> => {
  try {
    const { state, checks } = JSON.parse(body) as { state?: unknown; checks?: unknown };
    if (typeof checks !== 'object' || checks === null) return {};
    const dependencies = Object.fromEntries(
      Object.entries(checks).map(([name, check]) => [name, readCheck(check)]),
    );
    return STATES.has(state)
      ? { state: state as ObservedHeartbeat['state'], dependencies }
      : { dependencies };
  } catch {
    return {}; // Not JSON: it is not one of ours, and its readiness has been judged already.
  }
};

const readCheck = (check: unknown): DependencyReading => {
  const {
    status,
    latency_ms: latencyMs,
    for_ms: forMs,
    reason,
  } = (check ?? {}) as Readonly<Record<string, unknown>>;
  return {
    status: status === 'up' || status === 'down' ? status : 'unknown',
    ...(typeof latencyMs === 'number' ? { latencyMs } : {}),
    ...(typeof forMs === 'number' ? { forMs } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
  };
};
