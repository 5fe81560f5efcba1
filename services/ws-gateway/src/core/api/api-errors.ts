import { WriteFault } from '@muster/bus/write-fault';
import { REPLY_ERRORS, ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import { isTooLarge } from '../group/publication-size.ts';

/** A call that cannot be done, by code. */
export class ApiError extends Error {
  readonly code: number;
  /** What the application says of a code of its own. */
  readonly told: string | undefined;
  /** What is wrong, after the text of the code. */
  readonly reason: string | undefined;

  constructor(code: number, told?: string, reason?: string) {
    super(`api error ${code}`);
    this.name = 'ApiError';
    this.code = code;
    this.told = told;
    this.reason = reason;
  }
}

/** The error of a parameter that cannot be used. */
export const badRequest = (reason: string): ApiError =>
  new ApiError(ReplyError.BadRequest, undefined, reason);

/** The error of something that is switched off in the options of a group. */
export const notAvailable = (reason: string): ApiError =>
  new ApiError(ReplyError.NotAvailable, undefined, reason);

/** Why a call failed. */
export interface ApiFault {
  readonly code: number;
  readonly told?: string | undefined;
  /** What is wrong, after the text of the code. */
  readonly reason?: string | undefined;
  /** Of a publication that failed because of Redis: whether it may have been made. */
  readonly outcome?: 'unknown' | 'not_published' | undefined;
  /** HTTP status for callers that ask for one, where it is not that of the code. */
  readonly status?: number | undefined;
}

/** JSON text of a result, or the code of an error. */
export type ApiOutcome =
  | { readonly ok: true; readonly json: string }
  /** `told`: the application's own words for a code of its own. */
  | ({ readonly ok: false } & ApiFault);

/** The answer for what a method threw; what nobody expected goes to `onFault`. */
export const faultOf = (error: unknown, onFault: (error: unknown) => void): ApiFault => {
  if (error instanceof ApiError) return { code: error.code, told: error.told, reason: error.reason };
  if (isTooLarge(error)) return { code: ReplyError.BadRequest, reason: error.detail, status: 413 };
  if (!(error instanceof AppError)) onFault(error);
  return error instanceof WriteFault ? writeFault(error) : { code: ReplyError.Internal };
};

/** The error object of an answer. */
export const errorJson = ({ code, told, reason, outcome }: ApiFault): string => {
  const message = told ?? REPLY_ERRORS[code as ReplyError].message;
  return JSON.stringify({ code, message: reason === undefined ? message : `${message}: ${reason}`, outcome });
};

/** What the caller must know about a publication that Redis did not acknowledge. */
const writeFault = ({ isOutcomeUnknown }: WriteFault): ApiFault =>
  isOutcomeUnknown
    ? {
        code: ReplyError.Internal,
        outcome: 'unknown',
        reason:
          'Redis did not answer in time, it may have been published; repeat with the same idempotency_key',
      }
    : {
        code: ReplyError.Internal,
        outcome: 'not_published',
        reason: 'Redis is not available, nothing was published',
      };
