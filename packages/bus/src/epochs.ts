import { randomBytes } from 'node:crypto';

const PREFIX_BYTES = 6;
const RADIX = 36;

/**
 * Names for new streams, none of which was ever given before: chance once per process, and a number. Almost none is
 * used, for almost every stream has its epoch already, so one may not cost much.
 */
export const createEpochs = (): (() => string) => {
  const prefix = randomBytes(PREFIX_BYTES).toString('base64url');
  let count = 0;
  return () => {
    count += 1;
    return prefix + count.toString(RADIX);
  };
};
