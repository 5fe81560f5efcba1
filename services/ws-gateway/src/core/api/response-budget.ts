import { ReplyError } from '@muster/protocol/codes';
import type { ApiOutcome } from './api-errors.ts';

/** Bytes of the answers to all calls of one request. */
export interface ResponseBudget {
  /** Performs a call; one whose answer does not fit any more is answered with error 106. */
  within(method: string, perform: () => Promise<ApiOutcome>): Promise<ApiOutcome>;
}

/** Methods that only read, with answers of any size. The answers of other methods are small, and say what was done: they are never left out. */
export const READING: ReadonlySet<string> = new Set(['history', 'presence', 'connections', 'channels']);

/** `onRefused` is called for each call that was answered with the error. */
export const createResponseBudget = (maxBytes: number, onRefused: () => void): ResponseBudget => {
  let leftBytes = maxBytes;
  const tooLarge: ApiOutcome = {
    ok: false,
    code: ReplyError.LimitExceeded,
    reason: `the answers of one request may have ${maxBytes} bytes together (MAX_BATCH_ANSWER_BYTES): send this call in another request`,
  };
  return {
    within: async (method, perform) => {
      const isBounded = READING.has(method);
      if (!isBounded || leftBytes > 0) {
        const outcome = await perform();
        const bytes = outcome.ok ? Buffer.byteLength(outcome.json) : 0;
        if (!isBounded || bytes <= leftBytes) {
          leftBytes -= bytes;
          return outcome;
        }
      }
      onRefused();
      return tooLarge;
    },
  };
};
