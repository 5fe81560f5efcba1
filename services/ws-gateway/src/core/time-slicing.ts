import { setImmediate as nextIteration } from 'node:timers/promises';

/** Serializes slices of work of all callers, in order of the calls, with an iteration of the event loop between two. */
export const createSerializer = () => {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(slice: () => Promise<T>): Promise<T> => {
    const own = last.then(slice);
    last = own.catch(() => {}).then(() => nextIteration());
    return own;
  };
};

/** Calls `visit` for each item, `width` of them per iteration of the event loop. */
export const visitInSlices = async <T>(items: readonly T[], width: number, visit: (item: T) => void): Promise<void> => {
  for (let at = 0; at < items.length; at += width) {
    for (const item of items.slice(at, at + width)) visit(item);
    if (at + width < items.length) await nextIteration();
  }
};

/** Limits blocking work to about `maxBytes` per turn of the event loop; the first piece of a turn may have any size. */
export const createTurnBudget = (maxBytes: number) => {
  const waiting: { readonly bytes: number; readonly start: () => void }[] = [];
  let used = 0;
  const use = (bytes: number): void => {
    if (used === 0) setImmediate(renew);
    used += bytes;
  };
  const renew = (): void => {
    used = 0;
    while (used < maxBytes) {
      const next = waiting.shift();
      if (next === undefined) return;
      use(next.bytes);
      next.start();
    }
  };
  return {
    /** Undefined: the budget of this turn suffices. Else resolves in the turn whose budget does, in order of the calls. */
    take: (bytes: number): Promise<void> | undefined => {
      if (waiting.length === 0 && used < maxBytes) {
        use(bytes);
        return undefined;
      }
      return new Promise((start) => waiting.push({ bytes, start }));
    },
  };
};

export type TurnBudget = ReturnType<typeof createTurnBudget>;
