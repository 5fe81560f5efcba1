import type { SessionId } from './token.ts';

/** Queries in flight, by session and secret. */
export interface SingleFlight<T> {
  /**
   * Starts a query, or joins the query in flight. `isUnchanged` turns false when the session changed meanwhile: the
   * result is valid for those that wait for it, but must not be cached.
   */
  once(
    presented: { readonly id: SessionId; readonly secret: string },
    query: (isUnchanged: () => boolean) => Promise<T>,
  ): Promise<T>;
  /** Detaches the queries of a changed session: the next call starts another query. */
  forget(id: SessionId): void;
  forgetAll(): void;
}

export const createSingleFlight = <T>(): SingleFlight<T> => {
  const inFlight = new Map<SessionId, Map<string, Promise<T>>>();
  return {
    once: ({ id, secret }, query) => {
      const bySecret = inFlight.get(id) ?? new Map<string, Promise<T>>();
      inFlight.set(id, bySecret);
      const pending = bySecret.get(secret);
      if (pending !== undefined) return pending;
      const work = query(() => inFlight.get(id) === bySecret).finally(() => {
        bySecret.delete(secret);
        if (bySecret.size === 0 && inFlight.get(id) === bySecret) inFlight.delete(id);
      });
      bySecret.set(secret, work);
      return work;
    },
    forget: (id) => void inFlight.delete(id),
    forgetAll: () => inFlight.clear(),
  };
};
