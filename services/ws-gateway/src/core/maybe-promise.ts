/** A result that is usually known at once, and otherwise follows. */
export type MaybePromise<T> = T | Promise<T>;

/** Continues with a result, in the same turn where it is known: a handshake passes through many functions, but rarely waits. */
export const andThen = <T, R>(result: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> =>
  result instanceof Promise ? result.then(next) : next(result);
