import type { Clock } from '@muster/kit/clock';
import type { EngineMetrics } from '../ports.ts';

/** Measures how long some publications are on their way, from the gateway that took them to each that delivers them. */
export interface LatencyProbe {
  /** Gives every sixteenth publication the time along. */
  mark<T extends Marked>(request: T): T;
  /** A publication with notes was handed to the sockets. */
  onDelivered(notes: readonly string[]): void;
}

interface Marked {
  readonly notes?: readonly string[];
}

/** A time for every publication would cost each of them more than it tells. */
const ONE_IN = 16;
/** Word among the notes of a publication, followed by ms since the Unix epoch. Clocks of two machines differ; a difference below 0 counts as 0. */
const NOTE = 'at=';

export const createLatencyProbe = ({
  clock,
  metrics,
}: {
  readonly clock: Clock;
  readonly metrics: Pick<EngineMetrics, 'delivered'>;
}): LatencyProbe => {
  let count = 0;
  return {
    mark: (request) => {
      count = (count + 1) % ONE_IN;
      if (count !== 1) return request;
      return { ...request, notes: [...(request.notes ?? []), `${NOTE}${clock.now()}`] };
    },
    onDelivered: (notes) => {
      const note = notes.find((one) => one.startsWith(NOTE));
      if (note === undefined) return;
      metrics.delivered(Math.max(0, clock.now() - Number(note.slice(NOTE.length))) / 1000);
    },
  };
};
