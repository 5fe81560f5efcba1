import type { PublicationDraft } from '@muster/bus/publication-encoding';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Payload } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { GroupName } from '@muster/protocol/ids';
import type { EngineMetrics } from '../ports.ts';

export interface SizeCheckDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Logger;
  readonly metrics: Pick<EngineMetrics, 'refused'>;
  /** Bytes of the payload and of everything else in a publication. */
  readonly maxBytes: number;
}

/** Refuses publications that clients could not be given. */
export interface SizeCheck {
  /** The error for a publication that is too large, counted and logged. */
  check(group: GroupName, draft: PublicationDraft, data: Payload): AppError | undefined;
}

/** Bytes of what others see of a client in a group: everybody who looks at its presence gets it of everybody. */
export const MAX_INFO_BYTES = 16_384;
/** One line a second at most: a publisher that does not stop must not fill the log. */
const LOG_EVERY_MS = 1_000;

export const createSizeCheck = ({ clock, log, metrics, maxBytes }: SizeCheckDeps): SizeCheck => {
  let loggedAt = Number.NEGATIVE_INFINITY;
  return {
    check: (group, { dataLength, open }, data) => {
      const bytes = dataLength + (open.length - data.length);
      if (bytes <= maxBytes) return undefined;
      metrics.refused('too_large');
      const now = clock.monotonic();
      if (now - loggedAt >= LOG_EVERY_MS) {
        loggedAt = now;
        log.info({ group, bytes, maxBytes }, 'gateway.publication_too_large');
      }
      const detail = `the publication has ${bytes} bytes; at most ${maxBytes} (MAX_PUBLICATION_BYTES)`;
      return new AppError('PAYLOAD_TOO_LARGE', { detail });
    },
  };
};

/** Whether a publication was refused for its size. */
export const isTooLarge = (error: unknown): error is AppError =>
  error instanceof AppError && error.code === 'PAYLOAD_TOO_LARGE';
