import type { SessionId } from './token.ts';

/** Questions under way, by session and secret. */
export interface SingleFlight<T> {
  /**
   * Asks, or joins the same question that is under way. `isStillGood` turns false when the session changed
   * meanwhile: then the answer may be used for those who asked, and not be kept.
   */
  once(
    about: { readonly id: SessionId; readonly secret: string },
    ask: (isStillGood: () => boolean) => Promise<T>,
  ): Promise<T>;
  /** The session has changed. Who asks from now on asks anew. */
  forget(id: SessionId): void;
  forgetAll(): void;
}

/** Requests of one page come together: they share one question. */
export const createSingleFlight = <T>(): SingleFlight<T> => {
  const under = new Map<SessionId, Map<string, Promise<T>>>();
  return {
    once: ({ id, secret }, ask) => {
      const bySecret = under.get(id) ?? new Map<string, Promise<T>>();
      under.set(id, bySecret);
      const asked = bySecret.get(secret);
      if (asked !== undefined) return asked;
      const work = ask(() => under.get(id) === bySecret).finally(() => {
        bySecret.delete(secret);
        if (bySecret.size === 0 && under.get(id) === bySecret) under.delete(id);
      });
      bySecret.set(secret, work);
      return work;
    },
    forget: (id) => void under.delete(id),
    forgetAll: () => under.clear(),
  };
};
