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
  /** Limit of a publication, in bytes: its payload and its other fields. */
  readonly maxBytes: number;
}

/** Limit of a client's `info` in a group, in bytes: one presence reply carries the `info` of every member. */
export const MAX_INFO_BYTES = 16_384;
/** At most one log line per second. */
const LOG_EVERY_MS = 1_000;

/** Returns the error for a publication that is too large, counted and logged. */
export const createSizeCheck = ({ clock, log, metrics, maxBytes }: SizeCheckDeps) => {
  let loggedAt = Number.NEGATIVE_INFINITY;
  return (group: GroupName, { dataLength, open }: PublicationDraft, data: Payload): AppError | undefined => {
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
  };
};

/** True when a publication was rejected for its size. */
export const isTooLarge = (error: unknown): error is AppError =>
  error instanceof AppError && error.code === 'PAYLOAD_TOO_LARGE';
