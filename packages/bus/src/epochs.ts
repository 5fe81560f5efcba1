import { randomBytes } from 'node:crypto';

const PREFIX_BYTES = 6;
const RADIX = 36;

/**
 * Generator of unique epochs: random bytes of the process, and a counter. It must be cheap: every append passes an epoch,
 * and only a new stream uses it.
 */
export const createEpochs = (): (() => string) => {
  const prefix = randomBytes(PREFIX_BYTES).toString('base64url');
  let count = 0;
  return () => {
    count += 1;
    return prefix + count.toString(RADIX);
  };
};
