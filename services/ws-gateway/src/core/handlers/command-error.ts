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

/** Reasons of error replies that several commands share. */

export const NO_NAMESPACE = 'the namespace of `channel` is not configured (GROUPS_FILE)';

export const NEW_GROUPS =
  'this session has opened as many groups as it may in a minute (MAX_NEW_GROUPS_PER_MINUTE): try again later';

/** Of kinds of groups that a server of the protocol may have or not. */
export const onlyType0 = (type: number): string => `\`type\` is ${type}; this server has groups of type 0`;
