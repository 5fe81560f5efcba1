import { requireStablePath } from './paths.ts';

/** Failure of a call. `status` is 0 without a response. */
export class MusterError extends Error {
  override readonly name = 'MusterError';
  /** HTTP status, or 0. */
  readonly status: number;
  /** Reason, stable across releases: `session-ended`, `rate-limited`, `validation`, `network`… */
  readonly reason: string;
  /** Request id, as in the log of the service. */
  readonly requestId: string | undefined;
  /** Seconds until a retry is useful. */
  readonly retryAfterS: number | undefined;
  /** For `validation`: the invalid fields. */
  readonly failures: readonly { loc: readonly (string | number)[]; msg: string; type: string }[];
  /** Other members of the problem, such as `end_reason`. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(status: number, reason: string, message: string, about: Partial<MusterError> & { cause?: unknown } = {}) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause });
    this.status = status;
    this.reason = reason;
    this.requestId = about.requestId;
    this.retryAfterS = about.retryAfterS;
    this.failures = about.failures ?? [];
    this.problem = about.problem ?? {};
  }
}

/** Options of the connection to the session service. */
export interface HttpOptions {
  /** Origin of the service or of the load balancer before it, such as `https://app.example.com`; in a browser, '' is the origin of the page. */
  readonly baseUrl: string;
  /** Timeout of one try in milliseconds; default 5000. */
  readonly timeoutMs?: number;
  /** Time limit of a call with all its retries, in milliseconds; default: only the number of tries is limited. */
  readonly totalMs?: number;
  /** Retries of calls that may run twice, after 429, 503 and lost connections; default 2. */
  readonly retries?: number;
  /** Replacement for `fetch`. */
  readonly fetch?: typeof fetch;
}

/** Request. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * `Idempotency-Key` of all tries, for a call that creates something. `true` generates a key; pass one where the
   * application repeats the call itself.
   */
  readonly idempotencyKey?: string | true;
  /** The call may run twice without a key. Default: every method but POST and PATCH. */
  readonly isSafeToRepeat?: boolean;
}

export interface HttpResponse<T> {
  readonly status: number;
  readonly body: T;
  readonly headers: Headers;
}

/**
 * Sends a request. Rejects with {@link MusterError} for an error response or a lost connection, and with a TypeError
 * before any request for a path that a URL parser would change.
 */
export type Send = <T>(call: Call) => Promise<HttpResponse<T>>;

const DEFAULT_TIMEOUT_MS = 5_000;
const DEFAULT_RETRIES = 2;
const MAX_RETRY_AFTER_S = 10;
const FIRST_PAUSE_MS = 200;
const KEY_BYTES = 16;

/** Creates a sender with the headers and credentials of `common`. */
export const createSender = (
  options: HttpOptions,
  common: { readonly headers: Readonly<Record<string, string>>; readonly credentials?: RequestCredentials },
): Send => {
  const { retries = DEFAULT_RETRIES, totalMs = Number.POSITIVE_INFINITY } = options;
  return async <T>(call: Call): Promise<HttpResponse<T>> => {
    requireStablePath(call.path);
    const keyed = withKey(call);
    const endsAt = performance.now() + totalMs;
    const tries = isRepeatable(call) ? 1 + retries : 1;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await once<T>(options, common, keyed, endsAt - performance.now());
      } catch (error) {
        const pauseMs = attempt < tries ? pauseOf(error, attempt) : Number.POSITIVE_INFINITY;
        if (performance.now() + pauseMs >= endsAt) throw error;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  };
};

/** 128 random bits in hex; `crypto.randomUUID` is missing on pages without TLS. */
export const newIdempotencyKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(KEY_BYTES)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const withKey = (call: Call): Call => {
  if (call.idempotencyKey === undefined) return call;
  const key = call.idempotencyKey === true ? newIdempotencyKey() : call.idempotencyKey;
  return { ...call, headers: { ...call.headers, 'idempotency-key': key } };
};

const isRepeatable = ({ idempotencyKey, isSafeToRepeat, method }: Call): boolean =>
  idempotencyKey !== undefined || (isSafeToRepeat ?? !['POST', 'PATCH'].includes(method));

const isTemporary = ({ status }: MusterError): boolean => status === 0 || status === 429 || status === 503;

/** Delay before the next try in ms; infinite for a permanent failure. */
const pauseOf = (error: unknown, attempt: number): number => {
  if (!(error instanceof MusterError) || !isTemporary(error)) return Number.POSITIVE_INFINITY;
  const asked = Math.min(error.retryAfterS ?? 0, MAX_RETRY_AFTER_S) * 1_000;
  return Math.max(asked, FIRST_PAUSE_MS * 2 ** (attempt - 1)) * (1 + Math.random() / 2);
};

const once = async <T>(
  options: HttpOptions,
  common: { readonly headers: Readonly<Record<string, string>>; readonly credentials?: RequestCredentials },
  call: Call,
  leftMs: number,
): Promise<HttpResponse<T>> => {
  const { fetch: send = fetch, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  let response: Response;
  let text: string;
  try {
    response = await send(addressOf(options.baseUrl, call), {
      method: call.method,
      headers: {
        accept: 'application/json',
        ...common.headers,
        ...call.headers,
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      ...(common.credentials === undefined ? {} : { credentials: common.credentials }),
      signal: AbortSignal.timeout(Math.ceil(Math.min(timeoutMs, leftMs))),
    });
    text = await response.text();
  } catch (cause) {
    throw new MusterError(0, 'network', `no answer to ${call.method} ${call.path}`, { cause });
  }
  const body = parse(text);
  if (!response.ok) throw refusal(response, body);
  return { status: response.status, body: body as T, headers: response.headers };
};

const addressOf = (baseUrl: string, { path, query = {} }: Call): string => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return baseUrl.replace(/\/$/, '') + path + (search === '' ? '' : `?${search}`);
};

const parse = (text: string): unknown => {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // An error page of a proxy; the status is enough.
  }
};

const refusal = (response: Response, body: unknown): MusterError => {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  const about = {
    problem,
    ...(typeof problem['request_id'] === 'string' ? { requestId: problem['request_id'] } : {}),
    ...(Number.isFinite(retryAfter) ? { retryAfterS: retryAfter } : {}),
  };
  const { status } = response;
  if (status === 422 && Array.isArray(problem['detail'])) {
    const failures = problem['detail'] as MusterError['failures'];
    const words = failures.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`).join('; ');
    return new MusterError(status, 'validation', words, { ...about, failures });
  }
  const reason =
    String(problem['type'] ?? '')
      .split('/')
      .at(-1) || `http-${status}`;
  const words = problem['detail'] ?? problem['title'] ?? `answered ${status}`;
  return new MusterError(status, reason, String(words), about);
};
