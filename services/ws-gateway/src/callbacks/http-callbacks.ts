import { type Breaker, BreakerOpenError, createBreaker } from '@muster/kit/circuit-breaker';
import { type Clock, TimeoutError } from '@muster/kit/clock';
import { readResponseText } from '@muster/kit/fetch-json';
import type { Logger } from '@muster/kit/logger';
import { signWebhook } from '@muster/kit/webhook-signature';
import type { Payload } from '@muster/protocol/commands';
import { readTerms } from '../auth/claims.ts';
import {
  type AppCallbacks,
  CALLBACKS,
  type CallbackAnswer,
  type CallbackData,
  type CallbackKind,
  type Caller,
} from '../core/callbacks.ts';
import { MAX_INFO_BYTES } from '../core/group/publication-size.ts';
import { type RawResult, readCallbackAnswer, readCallbackData } from './callback-answers.ts';

/** Outcome of a callback; the `outcome` label of `gateway_callbacks_total`. */
export type CallbackOutcome =
  | 'ok'
  | 'error'
  | 'disconnect'
  | 'timeout'
  | 'unreachable'
  | 'bad_status'
  | 'bad_answer'
  | 'too_many'
  | 'not_tried';

export interface HttpCallbacksDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly urls: Readonly<Partial<Record<CallbackKind, string>>>;
  readonly secret: string;
  readonly timeoutMs: number;
  readonly maxInFlight: number;
  /** Longest data for clients in an answer, in bytes. */
  readonly maxDataBytes: number;
  /** A new `webhook-id`. */
  newId(): string;
  onAnswer(kind: CallbackKind, outcome: CallbackOutcome, seconds: number): void;
  onInFlight(count: number): void;
}

/** Longest answer, in bytes. */
const MAX_ANSWER_BYTES = 262_144;
/** Statuses of an unreachable application; any other status concerns a single request. */
const UNREACHABLE_STATUSES = new Set([502, 503, 504]);
/** Extra time of the breaker's deadline, for requests that do not notice their abort. */
const BREAKER_SLACK_MS = 500;

class ApplicationUnreachableError extends Error {}

const FAILURE_OUTCOMES = { text: 'bad_answer', bad_status: 'bad_status' } as const;
const ANSWER_OUTCOMES = {
  result: 'ok',
  error: 'error',
  disconnect: 'disconnect',
  unavailable: 'unreachable',
} as const;

type CallbackResponse =
  | { readonly is: 'text'; readonly status: 200; readonly text: string }
  | { readonly is: 'bad_status'; readonly status: number };

/**
 * Calls the application by `POST` with a signed JSON body, over kept-alive connections. Without a valid answer the result is
 * `unavailable`; a circuit breaker per kind opens for one second after five faults in a row.
 */
export const createHttpCallbacks = (deps: HttpCallbacksDeps): AppCallbacks => {
  const { clock, urls, log } = deps;
  const breakers = new Map<CallbackKind, Breaker>(
    CALLBACKS.map((kind) => [
      kind,
      createBreaker({ clock, what: `the ${kind} callback`, deadlineMs: deps.timeoutMs + BREAKER_SLACK_MS }),
    ]),
  );
  let inFlight = 0;
  const count = (by: number): void => {
    inFlight += by;
    deps.onInFlight(inFlight);
  };

  const call = async <T>(
    kind: CallbackKind,
    body: string,
    read: (result: RawResult) => T | undefined,
  ): Promise<CallbackAnswer<T>> => {
    const startedAt = clock.monotonic();
    const done = (outcome: CallbackOutcome): void =>
      deps.onAnswer(kind, outcome, (clock.monotonic() - startedAt) / 1000);
    if (inFlight >= deps.maxInFlight) {
      done('too_many');
      return { is: 'unavailable' };
    }
    count(1);
    try {
      const response = await breakers.get(kind)?.run(() => post(deps, urls[kind] ?? '', body));
      const answer = response?.is === 'text' ? readCallbackAnswer(response.text, read) : undefined;
      done(answer === undefined ? FAILURE_OUTCOMES[response?.is ?? 'bad_status'] : ANSWER_OUTCOMES[answer.is]);
      if (answer === undefined) log.warn({ kind, status: response?.status }, 'callback.invalid_response');
      return answer ?? { is: 'unavailable' };
    } catch (error) {
      const outcome = outcomeOf(error);
      done(outcome);
      // At debug level, because an outage causes many at once; the counter has them all.
      log.debug({ kind, error }, 'callback.failed');
      return { is: 'unavailable' };
    } finally {
      count(-1);
    }
  };

  return {
    has: (kind) => urls[kind] !== undefined,
    subscribe: (caller, { group, ...data }) =>
      call('subscribe', bodyOf(callerOf(caller), { channel: group }, data), ({ values }) => {
        const terms = readTerms(values);
        const isInfoWithinLimit = byteLength(terms?.info) <= MAX_INFO_BYTES;
        return isInfoWithinLimit && byteLength(terms?.data) <= deps.maxDataBytes ? terms : undefined;
      }),
    publish: (caller, { group, ...data }) =>
      call('publish', bodyOf(callerOf(caller), { channel: group }, data), (result) => {
        const changed = readCallbackData(result);
        return changed && { ...changed, skipHistory: result.values['skip_history'] === true };
      }),
    rpc: (caller, { method, ...data }) =>
      call('rpc', bodyOf('client' in caller ? callerOf(caller) : { known: caller }, { method }, data), (result) => {
        const answer = readCallbackData(result);
        return byteLength(answer?.data) <= deps.maxDataBytes ? answer : undefined;
      }),
  };
};

const byteLength = (text = ''): number => Buffer.byteLength(text);

const post = async (
  { clock, secret, timeoutMs, newId }: HttpCallbacksDeps,
  url: string,
  body: string,
): Promise<CallbackResponse> => {
  const id = newId();
  const timestampS = Math.floor(clock.now() / 1000);
  const response = await fetch(url, {
    method: 'POST',
    redirect: 'error',
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(timestampS),
      'webhook-signature': signWebhook(secret, id, timestampS, body),
    },
    body,
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status === 200) {
    return {
      is: 'text',
      status: 200,
      text: await readResponseText(response, MAX_ANSWER_BYTES).catch(unlessTooLong),
    };
  }
  await response.body?.cancel();
  // Any other status may concern the input of one client, and must not open the breaker for all.
  if (UNREACHABLE_STATUSES.has(response.status))
    throw new ApplicationUnreachableError(`the application answered ${response.status}`);
  return { is: 'bad_status', status: response.status };
};

/** A too long answer concerns a single request: it is invalid, and no fault for the breaker. */
const unlessTooLong = (error: unknown): string => {
  if (error instanceof Error && error.name === 'TooLongError') return '';
  throw error;
};

const outcomeOf = (error: unknown): CallbackOutcome => {
  if (error instanceof BreakerOpenError) return 'not_tried';
  const isTimeout = error instanceof TimeoutError || (error instanceof Error && error.name === 'TimeoutError');
  return isTimeout ? 'timeout' : 'unreachable';
};

const callerOf = ({ client, identity, encoding }: Caller) => ({
  known: {
    tenant: identity.tenant,
    client,
    transport: 'websocket',
    protocol: encoding,
    user: identity.user,
    ...(identity.sessionId === undefined ? {} : { session: identity.sessionId }),
  },
  meta: identity.meta,
});

/** The request body as JSON, with unchanged payloads. */
const bodyOf = (
  caller: { readonly known: object; readonly meta?: Payload | undefined },
  subject: { readonly channel?: string; readonly method?: string },
  { data, isBinary = false }: CallbackData,
): string => {
  const known = JSON.stringify({ ...caller.known, encoding: isBinary ? 'binary' : 'json', ...subject });
  const meta = caller.meta === undefined ? '' : `,"meta":${caller.meta}`;
  const payload = data === undefined ? '' : `,"${isBinary ? 'b64data' : 'data'}":${data}`;
  return `${known.slice(0, -1)}${meta}${payload}}`;
};
