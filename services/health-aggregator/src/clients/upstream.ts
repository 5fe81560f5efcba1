import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import type { FleetState } from '../core/fleet.ts';
import type { FleetSnapshot } from '../core/fleet-snapshot.ts';

const TIMEOUT_MS = 2_000;
const MAX_TRIES = 2;
const RETRY_AFTER_S = 2;
/** Best first; one that drains still answers. */
const USABLE = ['up', 'degraded', 'suspect', 'draining'];

/** Causes of a fall after which there is no process any more. */
const DEAD = ['refused', 'reset'];

/** One request to a service of the fleet. It may run twice, so it must be harmless to repeat. */
export interface UpstreamRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
}

/** Asks instances of one service in turn, in the name of an operator. */
export interface UpstreamClient {
  /**
   * The JSON of a 2xx, undefined where there is none. Rejects with NOT_FOUND, MALFORMED_REQUEST, or OVERLOADED (503) for
   * everything that is a fault of the fleet: nobody serves, nobody answers within two seconds, our key is refused.
   */
  request<T>(request: UpstreamRequest): Promise<T>;
  /** Addresses that serve, best first. */
  addresses(): readonly string[];
  /** Names of all that may have clients: those that serve, and those that hang. A process that refuses connections has none. */
  names(): readonly string[];
}

/** What is needed to ask. */
export interface UpstreamDeps {
  readonly service: string;
  readonly fleet: Pick<FleetState, 'monitors' | 'snapshot'>;
  /** The header that carries our key. */
  readonly headers: Readonly<Record<string, string>>;
  /** The variable that holds the key, for people. */
  readonly variable: string;
  readonly log: Logger;
}

export const createUpstream = (deps: UpstreamDeps): UpstreamClient => {
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
  const ask = async <T>(request: UpstreamRequest): Promise<T> => {
    let cause: unknown;
    for (const address of addresses().slice(0, MAX_TRIES)) {
      try {
        const response = await send(address, request, deps.headers);
        if (response.ok) return (await jsonOf(response)) as T;
        cause = refusalOf(response.status, await detailOf(response), deps);
      } catch (error) {
        cause = error;
      }
      if (cause instanceof AppError) throw cause;
    }
    log.debug({ of: service, error: cause }, 'operator.upstream_failed');
    throw new AppError('OVERLOADED', {
      detail: noAnswerText(service, cause, fleet.snapshot().dependencies),
      retryAfterS: RETRY_AFTER_S,
      cause,
    });
  };
  return { request: ask, addresses, names };
};

/** The store without which a service cannot answer, as dependencies name it and as people do. */
const STORES: Readonly<Record<string, readonly [name: string, title: string]>> = {
  'session-service': ['database', 'Postgres'],
  'ws-gateway': ['redis', 'Redis'],
};
const MAX_DETAIL = 300;

/** Why there is no answer, and what to look at: a store that is down explains more than its users do. */
const noAnswerText = (service: string, cause: unknown, stores: FleetSnapshot['dependencies']): string => {
  if (cause === undefined) return `No ${service} is up: see the status page for the cause.`;
  const [store = '', title = ''] = STORES[service] ?? [];
  const { status, reasons = [] } = stores[store] ?? {};
  if (status === 'down' || status === 'degraded') {
    const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
    return `The ${service} cannot use ${title}${why}: check ${title} first.`;
  }
  if (cause instanceof RefusedAnswer) return `The ${service} answered with an error: ${cause.message}`;
  return `No ${service} answered within ${TIMEOUT_MS / 1_000} s: see the status page for the cause.`;
};

/** A refusal by an instance that a second one may do better. */
class RefusedAnswer extends Error {
  override readonly name = 'RefusedAnswer';
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

/** Why a request was refused, where the service says it. */
const detailOf = async (response: Response): Promise<string> => {
  const problem: unknown = await response.json().catch(() => undefined);
  const { detail, title } = (problem ?? {}) as { readonly detail?: unknown; readonly title?: unknown };
  const text = detail ?? title;
  return typeof text === 'string' ? text.slice(0, MAX_DETAIL) : '';
};

/** What a refusal means for the operator; an `Error` that is no `AppError` when the next instance may do better. */
const refusalOf = (status: number, detail: string, { service, variable, log }: UpstreamDeps): unknown => {
  if (status === 404) return new AppError('NOT_FOUND', { detail: 'There is nothing of this name.' });
  if (status === 401 || status === 403) {
    log.error({ of: service, status, variable }, 'operator.key_refused');
    // Our key is wrong, not the operator's: that is no 401.
    return new AppError('OVERLOADED', {
      detail: `The ${service} refuses the key of this aggregator: check ${variable}.${detail && ` It says: ${detail}`}`,
      retryAfterS: RETRY_AFTER_S,
    });
  }
  if (status === 400 || status === 422) {
    return new AppError('MALFORMED_REQUEST', { detail: `The ${service} does not accept this.` });
  }
  return new RefusedAnswer(`status ${status}.${detail && ` ${detail}`}`);
};
