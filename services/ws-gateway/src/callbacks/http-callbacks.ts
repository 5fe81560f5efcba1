import { type Breaker, BreakerOpenError, createBreaker } from '@muster/kit/circuit-breaker';
import { type Clock, TimeoutError } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { readResponseText } from '@muster/kit/response-text';
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
import { MAX_INFO_BYTES } from '../core/group/size-check.ts';
import { type RawResult, readAnswer, readData } from './callback-answers.ts';

/** How a question ended; the label of a counter. */
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
  /** Bytes of data for clients in an answer. */
  readonly maxDataBytes: number;
  /** A fresh id for one question. */
  newId(): string;
  onAnswer(kind: CallbackKind, outcome: CallbackOutcome, seconds: number): void;
  onInFlight(count: number): void;
}

/** Bytes of an answer. */
const MAX_ANSWER_BYTES = 262_144;
/** Statuses that say that the application is not there; all others are about the one question. */
const AWAY = new Set([502, 503, 504]);
/** The breaker's own deadline, should a request not notice that it was given up. */
const SLACK_MS = 500;

/** The application cannot be had. */
class AwayError extends Error {}

const BAD = { text: 'bad_answer', bad_status: 'bad_status' } as const;
const GOOD = { result: 'ok', error: 'error', disconnect: 'disconnect', unavailable: 'unreachable' } as const;

type Asked =
  | { readonly is: 'text'; readonly status: 200; readonly text: string }
  | { readonly is: 'bad_status'; readonly status: number };

/**
 * Asks an application by `POST` with a signed JSON body, over connections that are kept. A question that gets no usable answer is
 * `unavailable`; when the application is away it is left alone for a second at a time.
 */
export const createHttpCallbacks = (deps: HttpCallbacksDeps): AppCallbacks => {
  const { clock, urls, log } = deps;
  const breakers = new Map<CallbackKind, Breaker>(
    CALLBACKS.map((kind) => [
      kind,
      createBreaker({ clock, what: `the ${kind} callback`, deadlineMs: deps.timeoutMs + SLACK_MS }),
    ]),
  );
  let inFlight = 0;
  const count = (by: number): void => {
    inFlight += by;
    deps.onInFlight(inFlight);
  };

  const ask = async <T>(
    kind: CallbackKind,
    body: string,
    read: (result: RawResult) => T | undefined,
  ): Promise<CallbackAnswer<T>> => {
    const begun = clock.monotonic();
    const done = (outcome: CallbackOutcome): void =>
      deps.onAnswer(kind, outcome, (clock.monotonic() - begun) / 1000);
    if (inFlight >= deps.maxInFlight) {
      done('too_many');
      return { is: 'unavailable' };
    }
    count(1);
    try {
      const asked = await breakers.get(kind)?.run(() => post(deps, urls[kind] ?? '', body));
      const answer = asked?.is === 'text' ? readAnswer(asked.text, read) : undefined;
      done(answer === undefined ? BAD[asked?.is ?? 'bad_status'] : GOOD[answer.is]);
      if (answer === undefined) log.warn({ kind, status: asked?.status }, 'callback.bad_answer');
      return answer ?? { is: 'unavailable' };
    } catch (error) {
      const outcome = outcomeOf(error);
      done(outcome);
      // Many at once, when it is away: the counter has them all.
      log.debug({ kind, error }, 'callback.failed');
      return { is: 'unavailable' };
    } finally {
      count(-1);
    }
  };

  return {
    has: (kind) => urls[kind] !== undefined,
    subscribe: (caller, { group, ...data }) =>
      ask('subscribe', bodyOf(callerOf(caller), { channel: group }, data), ({ values }) => {
        const terms = readTerms(values);
        const isInfoGood = byteLength(terms?.info) <= MAX_INFO_BYTES;
        return isInfoGood && byteLength(terms?.data) <= deps.maxDataBytes ? terms : undefined;
      }),
    publish: (caller, { group, ...data }) =>
      ask('publish', bodyOf(callerOf(caller), { channel: group }, data), (result) => {
        const changed = readData(result);
        return changed && { ...changed, skipHistory: result.values['skip_history'] === true };
      }),
    rpc: (caller, { method, ...data }) =>
      ask(
        'rpc',
        bodyOf('client' in caller ? callerOf(caller) : { known: caller }, { method }, data),
        (result) => {
          const answer = readData(result);
          return byteLength(answer?.data) <= deps.maxDataBytes ? answer : undefined;
        },
      ),
  };
};

const byteLength = (text = ''): number => Buffer.byteLength(text);

const post = async (
  { clock, secret, timeoutMs, newId }: HttpCallbacksDeps,
  url: string,
  body: string,
): Promise<Asked> => {
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
  // Another bad status may be about what this one client sent; it must not close the way for all.
  if (AWAY.has(response.status)) throw new AwayError(`the application answered ${response.status}`);
  return { is: 'bad_status', status: response.status };
};

/** What is too long is about the one question as well: it is an answer that cannot be used. */
const unlessTooLong = (error: unknown): string => {
  if (error instanceof Error && error.name === 'TooLongError') return '';
  throw error;
};

const outcomeOf = (error: unknown): CallbackOutcome => {
  if (error instanceof BreakerOpenError) return 'not_tried';
  const isLate = error instanceof TimeoutError || (error instanceof Error && error.name === 'TimeoutError');
  return isLate ? 'timeout' : 'unreachable';
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

/** The question as JSON, payloads as they came. */
const bodyOf = (
  caller: { readonly known: object; readonly meta?: Payload | undefined },
  about: { readonly channel?: string; readonly method?: string },
  { data, isBinary = false }: CallbackData,
): string => {
  const known = JSON.stringify({ ...caller.known, encoding: isBinary ? 'binary' : 'json', ...about });
  const meta = caller.meta === undefined ? '' : `,"meta":${caller.meta}`;
  const payload = data === undefined ? '' : `,"${isBinary ? 'b64data' : 'data'}":${data}`;
  return `${known.slice(0, -1)}${meta}${payload}}`;
};
