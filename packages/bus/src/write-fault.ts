import { AppError } from '@muster/protocol/errors';

/** A write that Redis did not acknowledge. */
export class WriteFault extends AppError {
  /** The command was sent and the answer did not arrive: the write may have been made. */
  readonly isOutcomeUnknown: boolean;

  constructor(cause: unknown) {
    super('REDIS_UNAVAILABLE', { cause });
    this.name = 'WriteFault';
    this.isOutcomeUnknown = !wasNotMade(cause);
  }
}

/** Texts of ioredis for a command that it did not send. */
const NOT_SENT = /isn't writeable|isn't ready and enableOfflineQueue|startup nodes|sentinels are unreachable/;

/** The command was never sent, or Redis refused it as a whole. */
const wasNotMade = (cause: unknown): boolean =>
  cause instanceof Error && (cause.name === 'ReplyError' || NOT_SENT.test(cause.message));
