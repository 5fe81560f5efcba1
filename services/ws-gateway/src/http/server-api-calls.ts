import type { IncomingHttpHeaders } from 'node:http';
import type { Metrics } from '@muster/kit/metrics';
import { REPLY_ERRORS, type ReplyError } from '@muster/protocol/codes';
import type { RejectedCredentials } from '../auth/rejected-credentials.ts';
import { createKeyCheck, type KeyCheck, type ServerApiKey } from '../auth/server-api-keys.ts';
import { type ApiFault, type ApiOutcome, errorJson } from '../core/api/api-errors.ts';
import type { ApiObserver } from '../core/api/params.ts';
import type { ServerApi } from '../core/api/server-api.ts';

export interface ServerApiCallsDeps {
  readonly api: ServerApi;
  /** Without keys every call is rejected. Read for each call, so that keys can be rotated. */
  serverApiKeys(): readonly ServerApiKey[];
  readonly metrics: Metrics;
  readonly refusals: RejectedCredentials;
}

/** The request of a call. */
export interface ApiCaller {
  readonly requestId: string;
  /** The only tenant of its key; undefined: all. */
  readonly tenant: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

export interface ApiResponse {
  readonly status: number;
  readonly type: 'application/json' | 'text/plain';
  readonly body: string;
}

/** The calls of the server API, whichever way they are read from HTTP. */
export interface ServerApiCalls {
  readonly api: ServerApi;
  readonly checkKey: KeyCheck;
  /** Counts and logs a request that is rejected before any call. */
  reject(requestId: string, reason: 'server_key' | 'malformed'): void;
  /** Counts the outcome of each call, and logs failures by reason. */
  observerOf(requestId: string): ApiObserver;
  /**
   * Performs the call of one method. Errors of a call are answered with 200 and an error object, as Centrifugo's HTTP API libraries
   * expect; a body that is not a JSON object with 400. Without a body there are no parameters.
   */
  perform(method: string, text: string, caller: ApiCaller): Promise<ApiResponse>;
}

/** HTTP status of an error with `X-Centrifugo-Error-Mode: transport`. */
const STATUS: Readonly<Partial<Record<ReplyError, number>>> = {
  100: 500,
  102: 404,
  103: 403,
  104: 404,
  106: 400,
  107: 400,
  108: 400,
  112: 416,
};

export const createServerApiCalls = ({ api, serverApiKeys, metrics, refusals }: ServerApiCallsDeps): ServerApiCalls => {
  const counter = metrics.counter('gateway_api_calls_total');
  const observerOf =
    (requestId: string): ApiObserver =>
    (name, outcome) => {
      const method = api.methods.includes(name) ? name : 'unknown';
      counter.inc({ method, result: resultOf(outcome) });
      if (outcome.ok) return;
      const { code, outcome: publication } = outcome;
      const fault = { reason: reasonOf(outcome), code, method, publication, requestId };
      refusals.log('gateway.api_call_failed', fault);
    };
  const reject: ServerApiCalls['reject'] = (requestId, reason) => refusals.record('api', { reason, requestId });
  return {
    ...{ api, reject, observerOf },
    checkKey: createKeyCheck(serverApiKeys),
    perform: async (method, given, { requestId, tenant, headers }) => {
      const text = given === '' ? '{}' : given;
      const params = parseObject(text);
      if (params === undefined) {
        reject(requestId, 'malformed');
        return { status: 400, type: 'text/plain', body: 'Body: expected a JSON object.' };
      }
      const outcome = await api.call(method, params, { text, tenant, observe: observerOf(requestId) });
      return responseOf(method, outcome, headers['x-centrifugo-error-mode'] === 'transport');
    },
  };
};

const responseOf = (method: string, outcome: ApiOutcome, isTransportMode: boolean): ApiResponse => {
  const type = 'application/json';
  // The replies of a batch have no `result` around them.
  if (outcome.ok) return { status: 200, type, body: method === 'batch' ? outcome.json : `{"result":${outcome.json}}` };
  if (!isTransportMode) return { status: 200, type, body: `{"error":${errorJson(outcome)}}` };
  const status = outcome.appMessage === undefined ? (outcome.status ?? STATUS[outcome.code as ReplyError] ?? 500) : 400;
  return { status, type, body: errorJson(outcome) };
};

const resultOf = (outcome: ApiOutcome): string => {
  if (outcome.ok) return 'ok';
  return outcome.appMessage === undefined ? String(outcome.code) : 'application';
};

/** Text of the error code in snake case; input of the caller is not logged. */
const reasonOf = ({ code, appMessage }: ApiFault): string =>
  appMessage === undefined ? REPLY_ERRORS[code as ReplyError].message.replaceAll(' ', '_') : 'application';

const parseObject = (text: string): object | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
};
