import { setImmediate as nextIteration } from 'node:timers/promises';

/** Work in slices: one slice at a time, in order of arrival, with the event loop free between two. */
export type Turns = <T>(slice: () => Promise<T>) => Promise<T>;

/** All callers of one `Turns` share the turns, so that together they have no more under way than one slice. */
export const createTurns = (): Turns => {
  let last: Promise<unknown> = Promise.resolve();
  return (slice) => {
    const own = last.then(slice);
    last = own.then(
      () => nextIteration(),
      () => nextIteration(),
    );
    return own;
  };
};

/** Calls `visit` for each item, `width` of them in one iteration of the event loop. */
export const visitInSlices = async <T>(
  items: readonly T[],
  width: number,
  visit: (item: T) => void,
): Promise<void> => {
  for (let at = 0; at < items.length; at += width) {
    for (const item of items.slice(at, at + width)) visit(item);
    if (at + width < items.length) await nextIteration();
  }
};
