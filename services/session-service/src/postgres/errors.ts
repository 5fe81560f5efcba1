import { ValidationFailure } from '@muster/http/validation';
import { TimeoutError } from '@muster/kit/clock';
import { AppError } from '@muster/protocol/errors';

const RETRY_AFTER_S = 2;
/** Text, UUIDs, numbers and JSON that Postgres cannot store. Bodies are validated before, so this is a second check. */
const INVALID_VALUE = new Set(['22021', '22P02', '22P05', '22003', '22001', '22007', '22008', '23514']);
const NOT_UNIQUE = '23505';
const UNDEFINED_TABLE = '42P01';

/**
 * Translates an error of the driver: 503 for a fault of the database, a missing schema or an exhausted pool, 422 for
 * a value that cannot be stored, 409 for one that is not unique. Other errors pass through.
 */
export const translateFault = (error: unknown): unknown => {
  if (error instanceof AppError) return error;
  if (error instanceof TimeoutError) {
    return new AppError('OVERLOADED', { retryAfterS: RETRY_AFTER_S, cause: error });
  }
  const code = sqlState(error);
  if (isDatabaseFault(error) || code === UNDEFINED_TABLE) {
    return new AppError('DATABASE_UNAVAILABLE', { retryAfterS: RETRY_AFTER_S, cause: error });
  }
  if (code !== undefined && INVALID_VALUE.has(code)) {
    return new ValidationFailure([{ loc: ['body'], msg: 'Input cannot be stored', type: 'value_error' }]);
  }
  return code === NOT_UNIQUE ? new AppError('CONFLICT', { cause: error }) : error;
};

/** The SQLSTATE of an error, or the code of the operating system; undefined without one. */
export const sqlState = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
};

const SYSTEM_FAULT = /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)/;
const SQL_FAULT = /^(08|53|57P|58|XX|25006|28|3D000|42501)/;
/** Messages of the driver's own errors, which have no code. */
const DRIVER_TEXT =
  /Connection terminated|timeout exceeded|timeout expired|Query read timeout|not queryable|Client has encountered|pool after calling end/;

/** True if the connection is unusable: closed, terminated by the server, or attached to a demoted primary. */
export const isConnectionFault = (error: unknown): boolean => {
  const code = sqlState(error);
  if (code !== undefined) return SYSTEM_FAULT.test(code) || /^(08|57P|25006)/.test(code);
  return error instanceof Error && DRIVER_TEXT.test(error.message);
};

/** True if the database failed, not the statement. 57014 is the statement timeout, 55P03 the lock timeout. */
export const isDatabaseFault = (error: unknown): boolean => {
  const code = sqlState(error);
  if (code !== undefined)
    return SYSTEM_FAULT.test(code) || SQL_FAULT.test(code) || code === '57014' || code === '55P03';
  return isConnectionFault(error);
};
