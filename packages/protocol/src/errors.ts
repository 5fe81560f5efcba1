/** Retry policy of a client: never, at once, or after a delay. */
export type Retry = 'never' | 'now' | 'later';

interface ErrorKind {
  /** HTTP status. */
  readonly http: number;
  /** Last segment of the problem type URI (RFC 9457). */
  readonly slug: string;
  readonly title: string;
  readonly retry: Retry;
}

/** Every failure that crosses a process border, by code. Codes are stable; texts are not. */
export const ERRORS = {
  MALFORMED_REQUEST: { http: 400, slug: 'malformed-request', title: 'Malformed request', retry: 'never' },
  INVALID_CURSOR: { http: 400, slug: 'invalid-cursor', title: 'Invalid cursor', retry: 'never' },
  NO_SESSION: { http: 401, slug: 'no-session', title: 'No session', retry: 'never' },
  INVALID_TOKEN: { http: 401, slug: 'invalid-token', title: 'Invalid token', retry: 'never' },
  STALE_TOKEN: { http: 401, slug: 'stale-token', title: 'Stale token', retry: 'never' },
  SESSION_ENDED: { http: 401, slug: 'session-ended', title: 'Session ended', retry: 'never' },
  INVALID_KEY: { http: 401, slug: 'invalid-key', title: 'Invalid API key', retry: 'never' },
  FORBIDDEN: { http: 403, slug: 'forbidden', title: 'Forbidden', retry: 'never' },
  CSRF: { http: 403, slug: 'csrf', title: 'Cross-site request refused', retry: 'never' },
  ORIGIN_NOT_ALLOWED: { http: 403, slug: 'origin-not-allowed', title: 'Origin not allowed', retry: 'never' },
  STEP_UP_REQUIRED: { http: 403, slug: 'step-up-required', title: 'Step-up required', retry: 'never' },
  INSUFFICIENT_SCOPE: { http: 403, slug: 'insufficient-scope', title: 'Insufficient scope', retry: 'never' },
  NOT_FOUND: { http: 404, slug: 'not-found', title: 'Not found', retry: 'never' },
  METHOD_NOT_ALLOWED: { http: 405, slug: 'method-not-allowed', title: 'Method not allowed', retry: 'never' },
  REQUEST_TIMEOUT: { http: 408, slug: 'request-timeout', title: 'Request timeout', retry: 'now' },
  CONFLICT: { http: 409, slug: 'conflict', title: 'Conflict', retry: 'never' },
  SESSION_LIMIT: { http: 409, slug: 'session-limit', title: 'Session limit reached', retry: 'never' },
  USER_DISABLED: { http: 409, slug: 'user-disabled', title: 'User disabled', retry: 'never' },
  SESSION_ROTATED: { http: 409, slug: 'session-rotated', title: 'Session rotated', retry: 'never' },
  IDEMPOTENCY_IN_PROGRESS: {
    http: 409,
    slug: 'idempotency-in-progress',
    title: 'Request in progress',
    retry: 'later',
  },
  REVISION_MISMATCH: { http: 412, slug: 'revision-mismatch', title: 'Revision mismatch', retry: 'never' },
  PAYLOAD_TOO_LARGE: { http: 413, slug: 'payload-too-large', title: 'Payload too large', retry: 'never' },
  UNSUPPORTED_MEDIA_TYPE: {
    http: 415,
    slug: 'unsupported-media-type',
    title: 'Unsupported media type',
    retry: 'never',
  },
  IF_MATCH_REQUIRED: { http: 428, slug: 'if-match-required', title: 'If-Match required', retry: 'never' },
  RATE_LIMITED: { http: 429, slug: 'rate-limited', title: 'Too many requests', retry: 'later' },
  INTERNAL: { http: 500, slug: 'internal', title: 'Internal error', retry: 'later' },
  DATABASE_UNAVAILABLE: {
    http: 503,
    slug: 'database-unavailable',
    title: 'Database unavailable',
    retry: 'later',
  },
  REDIS_UNAVAILABLE: { http: 503, slug: 'redis-unavailable', title: 'Redis unavailable', retry: 'later' },
  ISSUER_UNAVAILABLE: { http: 503, slug: 'issuer-unavailable', title: 'Issuer unavailable', retry: 'later' },
  OVERLOADED: { http: 503, slug: 'overloaded', title: 'Overloaded', retry: 'later' },
  DRAINING: { http: 503, slug: 'draining', title: 'Shutting down', retry: 'later' },
} as const satisfies Record<string, ErrorKind>;

/** A key of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS;

/** Optional parts of an error. `detail` and `extra` are sent to the client; `cause` is logged only. */
export interface AppErrorOptions {
  readonly detail?: string;
  readonly retryAfterS?: number;
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** Failure with a code that the HTTP or protocol layer translates into a response. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly retryAfterS: number | undefined;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    super(options.detail ?? ERRORS[code].title, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.detail = options.detail;
    this.retryAfterS = options.retryAfterS;
    this.extra = options.extra ?? {};
  }
}
