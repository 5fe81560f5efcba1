import { AppError, ERRORS, type ErrorCode } from '@muster/protocol/errors';
import { type Failure, ValidationFailure } from './validation.ts';

/** An error response, and the code under which it is counted. */
export interface Problem {
  readonly code: ErrorCode | 'VALIDATION';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const MAX_FAILURES = 50;
/** Base of `type`; relative to the service, thus valid in every deployment. */
const TYPE_BASE = '/problems/';

/**
 * Maps a thrown value to a response: {@link ValidationFailure} to a 422 body as FastAPI writes it, everything else to problem+json
 * (RFC 9457). Unknown errors become a 500 without detail.
 */
export const toProblem = (error: unknown, requestId: string): Problem => {
  if (error instanceof ValidationFailure) return validationProblem(error.failures, requestId);
  const known = error instanceof AppError ? error : fromParser(error);
  if (known instanceof ValidationFailure) return validationProblem(known.failures, requestId);
  const kind = ERRORS[known.code];
  return {
    code: known.code,
    status: kind.http,
    headers: {
      'content-type': 'application/problem+json; charset=utf-8',
      ...(known.retryAfterS === undefined ? {} : { 'retry-after': String(known.retryAfterS) }),
      ...(kind.http === 401 ? { 'www-authenticate': 'Session' } : {}),
    },
    body: JSON.stringify({
      type: TYPE_BASE + kind.slug,
      title: kind.title,
      status: kind.http,
      detail: known.detail,
      request_id: requestId,
      retry_after: known.retryAfterS,
      ...known.extra,
    }),
  };
};

const validationProblem = (failures: readonly Failure[], requestId: string): Problem => ({
  code: 'VALIDATION',
  status: 422,
  headers: { 'content-type': 'application/json; charset=utf-8' },
  body: JSON.stringify({ detail: failures.slice(0, MAX_FAILURES), request_id: requestId }),
});

interface ParserError {
  readonly type?: unknown;
  readonly status?: unknown;
  readonly message?: unknown;
  /** The text that could not be parsed. */
  readonly body?: unknown;
}

/** Errors of Express and its body parser, which carry a `type` or a status. */
const fromParser = (error: unknown): AppError | ValidationFailure => {
  const { type, status, message, body } = (error ?? {}) as ParserError;
  switch (type) {
    case 'entity.parse.failed':
      return new ValidationFailure([
        {
          loc: ['body', offsetIn(String(message), String(body))],
          msg: 'JSON decode error',
          type: 'json_invalid',
        },
      ]);
    case 'entity.too.large':
      return new AppError('PAYLOAD_TOO_LARGE', { cause: error });
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return new AppError('UNSUPPORTED_MEDIA_TYPE', { cause: error });
    case 'request.aborted':
    case 'request.size.invalid':
      return new AppError('MALFORMED_REQUEST', { cause: error });
    default:
      return new AppError(status === 400 ? 'MALFORMED_REQUEST' : 'INTERNAL', { cause: error });
  }
};

/** Offset from the message of V8; a message without one means that the text ended too early. */
const offsetIn = (message: string, text: string): number => Number(/position (\d+)/.exec(message)?.[1] ?? text.length);
