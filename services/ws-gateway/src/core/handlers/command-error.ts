import type { ReplyError } from '@muster/protocol/codes';

/** An error reply to a command; `reason` follows the text of the code. */
export class CommandError {
  readonly code: ReplyError;
  readonly reason: string | undefined;

  constructor(code: ReplyError, reason?: string) {
    this.code = code;
    this.reason = reason;
  }
}

export const NO_NAMESPACE = 'the namespace of `channel` is not configured (GROUPS_FILE)';

export const NEW_GROUPS =
  'this session has reached its limit of new groups (MAX_NEW_GROUPS_PER_MINUTE): try again later';

/** For subscription types of the protocol that this server does not support. */
export const onlyType0 = (type: number): string => `\`type\` is ${type}; this server supports type 0 only`;
