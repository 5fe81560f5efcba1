import { AppError } from '@muster/protocol/errors';

/** A write that Redis did not acknowledge. */
export class WriteFault extends AppError {
  /** True when the command was sent without an answer: the write may have been applied. */
  readonly isOutcomeUnknown: boolean;

  constructor(cause: unknown) {
    super('REDIS_UNAVAILABLE', { cause });
    this.name = 'WriteFault';
    this.isOutcomeUnknown = !wasNotApplied(cause);
  }
}

/** Error messages of ioredis for commands that were not sent. */
const NOT_SENT = /isn't writeable|isn't ready and enableOfflineQueue|startup nodes|sentinels are unreachable/;

/** The command was not sent, or Redis rejected it. */
const wasNotApplied = (cause: unknown): boolean =>
  cause instanceof Error && (cause.name === 'ReplyError' || NOT_SENT.test(cause.message));
