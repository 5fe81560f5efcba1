import type { ReplyError } from '@muster/protocol/codes';

/** An error reply to a command, and what its text says beside that of the code. */
export class CommandError {
  readonly code: ReplyError;
  readonly reason: string | undefined;

  constructor(code: ReplyError, reason?: string) {
    this.code = code;
    this.reason = reason;
  }
}
