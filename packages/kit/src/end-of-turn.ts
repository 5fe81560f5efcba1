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

/**
 * Joins the queries of one turn of the event loop, at most `max` of them, into one call of `perform`. Each resolves with the result at
 * its index, or rejects as the call does.
 */
export const joinQueries = <Q, R>(
  max: number,
  perform: (queries: readonly Q[]) => Promise<readonly R[]>,
): ((query: Q) => Promise<R | undefined>) => {
  let batch: { readonly queries: Q[]; readonly results: Promise<readonly R[]> } | undefined;
  const open = () => {
    const { promise, resolve } = Promise.withResolvers<readonly R[]>();
    const opened = { queries: [] as Q[], results: promise };
    flushAtEndOfTurn('redis_commands', {
      flush: () => {
        if (batch === opened) batch = undefined;
        resolve(perform(opened.queries));
      },
    });
    return opened;
  };
  return (query) => {
    batch ??= open();
    const { queries, results } = batch;
    const index = queries.push(query) - 1;
    if (queries.length === max) batch = undefined;
    return results.then((found) => found[index]);
  };
};
