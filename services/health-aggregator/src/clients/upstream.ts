import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import type { FleetState } from '../core/fleet.ts';
import type { FleetSnapshot } from '../core/fleet-snapshot.ts';

const TIMEOUT_MS = 2_000;
const MAX_TRIES = 2;
const RETRY_AFTER_S = 2;
/** States in order of preference; a draining instance still responds. */
const USABLE = ['up', 'degraded', 'suspect', 'draining'];

/** Causes after which no process is left. */
const DEAD = ['refused', 'reset'];

/** A request to a service. It may be executed twice, so it must be idempotent. */
export interface UpstreamRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
}

/** Client of the instances of one service, with failover. */
export type UpstreamClient = ReturnType<typeof createUpstream>;

interface UpstreamDeps {
  readonly service: string;
  readonly fleet: Pick<FleetState, 'monitors' | 'snapshot'>;
  /** The header with the API key. */
  readonly headers: Readonly<Record<string, string>>;
  /** The variable of the key, for error texts. */
  readonly variable: string;
  readonly log: Logger;
}

/** Creates a client that distributes requests over the instances of a service. */
export const createUpstream = (deps: UpstreamDeps) => {
  const { service, fleet, log } = deps;
  let turn = 0;

  const addresses = (): string[] => {
    const members = fleet
      .monitors()
      .filter(({ heartbeat, state }) => heartbeat.service === service && USABLE.includes(state));
    turn = (turn + 1) % Math.max(1, members.length);
    const rotated = [...members.slice(turn), ...members.slice(0, turn)];
    return rotated
      .sort((a, b) => USABLE.indexOf(a.state) - USABLE.indexOf(b.state))
      .map(({ heartbeat }) => heartbeat.address);
  };
  const names = (): string[] =>
    fleet
      .monitors()
      .filter(({ heartbeat, state, why }) => {
        const mayHang = state === 'down' && !DEAD.includes(why);
        return heartbeat.service === service && (USABLE.includes(state) || mayHang);
      })
      .map(({ heartbeat }) => heartbeat.name);
  const request = async <T>(command: UpstreamRequest): Promise<T> => {
    let cause: unknown;
    for (const address of addresses().slice(0, MAX_TRIES)) {
      try {
        const response = await send(address, command, deps.headers);
        if (response.ok) return (await jsonOf(response)) as T;
        cause = errorOf(response.status, await detailOf(response), deps);
      } catch (error) {
        cause = error;
      }
      if (cause instanceof AppError) throw cause;
    }
    log.debug({ of: service, error: cause }, 'operator.upstream_failed');
    throw new AppError('OVERLOADED', {
      detail: failureText(service, cause, fleet.snapshot().dependencies),
      retryAfterS: RETRY_AFTER_S,
      cause,
    });
  };
  return {
    /**
     * The JSON of a 2xx response, undefined without a body. Rejects with NOT_FOUND, MALFORMED_REQUEST, or OVERLOADED (503) for a fault
     * of the fleet: no instance serves, none responds within two seconds, or the API key is rejected.
     */
    request,
    /** Names of instances that may have clients: those that serve or hang. A process that refuses connections has none. */
    names,
  };
};

/** The store that a service depends on: name in dependencies, and title. */
const STORES: Readonly<Record<string, readonly [name: string, title: string]>> = {
  'session-service': ['database', 'Postgres'],
  'ws-gateway': ['redis', 'Redis'],
};
const MAX_DETAIL = 300;

/** Cause and remedy of a failed request: a store that is down is a better explanation than its users. */
const failureText = (service: string, cause: unknown, stores: FleetSnapshot['dependencies']): string => {
  if (cause === undefined) return `No ${service} is up. See the status page for the cause.`;
  const [store = '', title = ''] = STORES[service] ?? [];
  const { status, reasons = [] } = stores[store] ?? {};
  if (status === 'down' || status === 'degraded') {
    const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
    return `The ${service} cannot reach ${title}${why}. Check ${title} first.`;
  }
  if (cause instanceof ErrorResponse) return `The ${service} responded with an error: ${cause.message}`;
  return `No ${service} responded within ${TIMEOUT_MS / 1_000} s. See the status page for the cause.`;
};

/** An error response after which another instance is tried. */
class ErrorResponse extends Error {
  override readonly name = 'ErrorResponse';
}

const send = (
  address: string,
  { method, path, body }: UpstreamRequest,
  headers: Readonly<Record<string, string>>,
): Promise<Response> =>
  fetch(`http://${address}${path}`, {
    method,
    headers: {
      ...headers,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });

const jsonOf = async (response: Response): Promise<unknown> => {
  const text = await response.text();
  return text === '' ? undefined : JSON.parse(text);
};

/** Detail of a problem response. */
const detailOf = async (response: Response): Promise<string> => {
  const problem: unknown = await response.json().catch(() => undefined);
  const { detail, title } = (problem ?? {}) as { readonly detail?: unknown; readonly title?: unknown };
  const text = detail ?? title;
  return typeof text === 'string' ? text.slice(0, MAX_DETAIL) : '';
};

/** The error for the operator; not an `AppError` if another instance should be tried. */
const errorOf = (status: number, detail: string, { service, variable, log }: UpstreamDeps): unknown => {
  if (status === 404) return new AppError('NOT_FOUND', { detail: 'Nothing has this name.' });
  if (status === 401 || status === 403) {
    log.error({ of: service, status, variable }, 'operator.key_refused');
    // The key of the aggregator is wrong, not that of the operator: no 401.
    return new AppError('OVERLOADED', {
      detail: `The ${service} rejects the API key of this aggregator. Check ${variable}.${detail && ` Response: ${detail}`}`,
      retryAfterS: RETRY_AFTER_S,
    });
  }
  if (status === 400 || status === 422) {
    return new AppError('MALFORMED_REQUEST', { detail: `The ${service} rejected the parameters.` });
  }
  return new ErrorResponse(`status ${status}.${detail && ` ${detail}`}`);
};
