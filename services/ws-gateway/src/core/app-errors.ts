import { CLOSE_REASON, type CloseCode, ReplyError } from '@muster/protocol/codes';
import type { CallbackAnswer } from './callbacks.ts';
import type { Connection } from './connection/connection.ts';

/** Tells a client what the application has to say to its command when that is no result. */
export const replyWithAppError = (
  connection: Connection,
  id: number,
  answer: Exclude<CallbackAnswer<unknown>, { is: 'result' }>,
): void => {
  switch (answer.is) {
    case 'unavailable':
      connection.fail(id, ReplyError.Internal);
      break;
    case 'error':
      connection.failAsTold(id, answer);
      break;
    case 'disconnect':
      connection.close(answer.code as CloseCode, answer.reason || CLOSE_REASON[3503]);
      break;
    default:
      answer satisfies never;
  }
};
