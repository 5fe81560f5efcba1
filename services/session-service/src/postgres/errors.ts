import { TimeoutError } from '@muster/kit/clock';
import { AppError } from '@muster/protocol/errors';

const RETRY_AFTER_S = 2;

/** Turns what the driver throws into 503 codes where the database is to blame; everything else stays as it is. */
export const translateFault = (error: unknown): unknown => {
  if (error instanceof TimeoutError) {
    return new AppError('OVERLOADED', { retryAfterS: RETRY_AFTER_S, cause: error });
  }
  if (isDatabaseFault(error)) {
    return new AppError('DATABASE_UNAVAILABLE', { retryAfterS: RETRY_AFTER_S, cause: error });
  }
  return error;
};

/** The SQLSTATE, or the code of the operating system, if the error has one. */
export const sqlState = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
};

const SYSTEM_FAULT = /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)/;
const SQL_FAULT = /^(08|53|57P|58|XX|25006|28|3D000|42501)/;
/** The driver's own errors carry no code. */
const DRIVER_TEXT =
  /Connection terminated|timeout exceeded|timeout expired|Query read timeout|not queryable|Client has encountered|pool after calling end/;

/** The connection is of no more use: closed, cut by the server, or attached to a demoted primary. */
export const isConnectionFault = (error: unknown): boolean => {
  const code = sqlState(error);
  if (code !== undefined) return SYSTEM_FAULT.test(code) || /^(08|57P|25006)/.test(code);
  return error instanceof Error && DRIVER_TEXT.test(error.message);
};

/** The database failed, not our statement. 57014 is our own statement timeout. */
export const isDatabaseFault = (error: unknown): boolean => {
  const code = sqlState(error);
  if (code !== undefined)
    return SYSTEM_FAULT.test(code) || SQL_FAULT.test(code) || code === '57014' || code === '55P03';
  return isConnectionFault(error);
};
