/** Something that collects what one turn of the event loop brings, and writes it at the end of the turn. */
export interface Flushable {
  flush(): void;
}

/**
 * Order of the work at the end of a turn. Redis works while the rest is done, and the frame of a publication takes the replies of its
 * connection along.
 */
const PHASES = ['redis_commands', 'redis_write', 'publications', 'replies'] as const;

export type TurnPhase = (typeof PHASES)[number];

const queues: Record<TurnPhase, Flushable[]> = { redis_commands: [], redis_write: [], publications: [], replies: [] };
let isScheduled = false;

const endTurn = (): void => {
  isScheduled = false;
  for (const phase of PHASES) {
    const due = queues[phase];
    if (due.length === 0) continue;
    queues[phase] = [];
    for (const one of due) one.flush();
  }
};

/**
 * Flushes it after the reads of this turn of the event loop. One immediate per turn, however much is flushed. What a flush adds to a
 * later phase belongs to the same turn.
 */
export const flushAtEndOfTurn = (phase: TurnPhase, one: Flushable): void => {
  queues[phase].push(one);
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(endTurn);
};
