/** Lets work wait for the next beat of the engine without a timer of its own. */
export interface Ticks {
  /** Resolves at the next {@link tick}. */
  next(): Promise<void>;
  tick(): void;
}

export const createTicks = (): Ticks => {
  let waiting: PromiseWithResolvers<void> | undefined;
  return {
    next: () => {
      waiting ??= Promise.withResolvers<void>();
      return waiting.promise;
    },
    tick: () => {
      waiting?.resolve();
      waiting = undefined;
    },
  };
};
