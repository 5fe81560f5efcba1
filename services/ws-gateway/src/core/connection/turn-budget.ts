/** Lets work that blocks the event loop go on in portions. */
export interface TurnBudget {
  /** Undefined: there is room in this turn of the event loop. Else resolves in the turn that has room, in the order of the calls. */
  take(bytes: number): Promise<void> | undefined;
}

/** At most about `maxBytes` in a turn; one piece of any size is taken where nothing was. */
export const createTurnBudget = (maxBytes: number): TurnBudget => {
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
    take: (bytes) => {
      if (waiting.length === 0 && used < maxBytes) {
        use(bytes);
        return undefined;
      }
      return new Promise((start) => waiting.push({ bytes, start }));
    },
  };
};
