/** What a check says of one credential: the later in this list, the more a refusal tells its client. */
const TELLING = ['invalid', 'stale', 'ended', 'unavailable', 'live'] as const;
export type Standing = (typeof TELLING)[number];

/**
 * Checks the credentials of one request in order and decides for all of them: the first that is live, else the refusal
 * that says most, and of equal ones the first. `unavailable` ends the search, because a later credential may only win
 * when every earlier one is known not to be live. Undefined without credentials. Rejects as `check` does.
 */
export const firstLive = async <V>(
  tokens: readonly string[],
  check: (token: string) => V | Promise<V>,
  standingOf: (verdict: V) => Standing,
): Promise<V | undefined> => {
  let best: { readonly verdict: V; readonly weight: number } | undefined;
  for (const token of tokens) {
    const verdict = await check(token);
    const standing = standingOf(verdict);
    if (standing === 'live' || standing === 'unavailable') return verdict;
    const weight = TELLING.indexOf(standing);
    if (best === undefined || weight > best.weight) best = { verdict, weight };
  }
  return best?.verdict;
};
