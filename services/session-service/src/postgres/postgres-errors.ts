import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import type { Postgres } from './pool.ts';

/** Text, UUIDs, numbers and JSON that Postgres cannot read; bodies are checked before, so this is a second net. */
const UNFIT = new Set(['22021', '22P02', '22P05', '22003', '22001', '22007', '22008', '23514']);
const NOT_UNIQUE = '23505';
const NO_SUCH_TABLE = '42P01';
const RETRY_AFTER_S = 2;

/** The same database, whose remaining driver errors are ours: 422, 409, and 503 while the schema is missing. */
export const translateErrors = (db: Postgres): Postgres => ({
  ...db,
  query: (name, text, values) => translated(() => db.query(name, text, values)),
  write: (name, text, values) => translated(() => db.write(name, text, values)),
  transaction: (run) => translated(() => db.transaction(run)),
});

const translated = async <T>(run: () => Promise<T>): Promise<T> => {
  try {
    return await run();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== 'string' || error instanceof AppError) throw error;
    if (UNFIT.has(code)) {
      throw new ValidationFailure([{ loc: ['body'], msg: 'Input cannot be stored', type: 'value_error' }]);
    }
    if (code === NOT_UNIQUE) throw new AppError('CONFLICT', { cause: error });
    if (code === NO_SUCH_TABLE) {
      throw new AppError('DATABASE_UNAVAILABLE', { retryAfterS: RETRY_AFTER_S, cause: error });
    }
    throw error;
  }
};
