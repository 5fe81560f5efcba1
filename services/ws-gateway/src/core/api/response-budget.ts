import { ReplyError } from '@muster/protocol/codes';
import type { ApiOutcome } from './api-errors.ts';

/** Methods that read only, with results of any size. Results of other methods are small, and report what was done: they are never omitted. */
export const READING_METHODS: ReadonlySet<string> = new Set(['history', 'presence', 'connections', 'channels']);

/** Limits the bytes of the results of all calls of one request. `onExceeded` is called for each omitted result. */
export const createResponseBudget = (maxBytes: number, onExceeded: () => void) => {
  let leftBytes = maxBytes;
  const tooLarge: ApiOutcome = {
    ok: false,
    code: ReplyError.LimitExceeded,
    reason: `the results of one request may have ${maxBytes} bytes in total (MAX_BATCH_ANSWER_BYTES): send this call in another request`,
  };
  return {
    /** Performs a call; a result that exceeds the budget is replaced by error 106. */
    within: async (method: string, perform: () => Promise<ApiOutcome>): Promise<ApiOutcome> => {
      const isBounded = READING_METHODS.has(method);
      if (!isBounded || leftBytes > 0) {
        const outcome = await perform();
        const bytes = outcome.ok ? Buffer.byteLength(outcome.json) : 0;
        if (!isBounded || bytes <= leftBytes) {
          leftBytes -= bytes;
          return outcome;
        }
      }
      onExceeded();
      return tooLarge;
    },
  };
};

export type ResponseBudget = ReturnType<typeof createResponseBudget>;
