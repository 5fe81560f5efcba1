import { WriteFault } from '@muster/bus/write-fault';
import { REPLY_ERRORS, ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import { isTooLarge } from '../group/publication-size.ts';

/** Failure of a call, with its error code. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly fault: ApiFault;

  constructor(code: number, reason?: string, appMessage?: string) {
    super(`api error ${code}`);
    this.fault = { code, reason, appMessage };
  }
}

/** The error for an invalid parameter. */
export const badRequest = (reason: string): ApiError => new ApiError(ReplyError.BadRequest, reason);

/** The error for a feature that the options of a group disable. */
export const notAvailable = (reason: string): ApiError => new ApiError(ReplyError.NotAvailable, reason);

/** Error of a call. */
export interface ApiFault {
  readonly code: number;
  /** Text of the application for a code of its own. */
  readonly appMessage?: string | undefined;
  /** Cause; follows the text of the code. */
  readonly reason?: string | undefined;
  /** Of a publication that Redis did not acknowledge: whether it may have been published. */
  readonly outcome?: 'unknown' | 'not_published' | undefined;
  /** HTTP status in transport mode, where it differs from that of the code. */
  readonly status?: number | undefined;
}

/** JSON text of the result, or the error. */
export type ApiOutcome = { readonly ok: true; readonly json: string } | ({ readonly ok: false } & ApiFault);

/** The error for what a method threw; unexpected errors are passed to `onFault`. */
export const faultOf = (error: unknown, onFault: (error: unknown) => void): ApiFault => {
  if (error instanceof ApiError) return error.fault;
  if (isTooLarge(error)) return { code: ReplyError.BadRequest, reason: error.detail, status: 413 };
  if (!(error instanceof AppError)) onFault(error);
  return error instanceof WriteFault ? writeFault(error) : { code: ReplyError.Internal };
};

/** The error object of a response. */
export const errorJson = ({ code, appMessage, reason, outcome }: ApiFault): string => {
  const message = appMessage ?? REPLY_ERRORS[code as ReplyError].message;
  return JSON.stringify({ code, message: reason === undefined ? message : `${message}: ${reason}`, outcome });
};

/** The error for a publication that Redis did not acknowledge. */
const writeFault = ({ isOutcomeUnknown }: WriteFault): ApiFault => ({
  code: ReplyError.Internal,
  outcome: isOutcomeUnknown ? 'unknown' : 'not_published',
  reason: isOutcomeUnknown
    ? 'Redis did not answer in time, it may have been published; repeat with the same idempotency_key'
    : 'Redis is not available, nothing was published',
});
