import { WriteFault } from '@muster/bus/write-fault';
import { REPLY_ERRORS, ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import { isTooLarge } from '../group/publication-size.ts';
import { ApiError } from './params.ts';

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
