/** What a check says of one credential: the later in this list, the more a refusal tells its client. */
const TELLING = ['forged', 'invalid', 'stale', 'ended', 'unavailable', 'live'] as const;
export type CredentialStatus = (typeof TELLING)[number];

/** Credentials of one request that stores are asked about: partitioned or not, and of another path or domain. */
export const MAX_CREDENTIALS_TRIED = 4;

/**
 * Checks the credentials of one request in order and decides for all of them: the first that is live, else the refusal
 * that says most, and of equal ones the first. `unavailable` ends the search, because a later credential may only win
 * when every earlier one is known not to be live. At most four are tried; `forged`, which costs no look-up in a store,
 * is not counted. Undefined without credentials. Rejects as `check` does.
 */
export const firstLiveSession = async <V>(
  tokens: readonly string[],
  check: (token: string) => V | Promise<V>,
  standingOf: (verdict: V) => CredentialStatus,
): Promise<V | undefined> => {
  let best: { readonly verdict: V; readonly weight: number } | undefined;
  let tried = 0;
  for (const token of tokens) {
    const verdict = await check(token);
    const standing = standingOf(verdict);
    if (standing === 'live' || standing === 'unavailable') return verdict;
    const weight = TELLING.indexOf(standing);
    if (best === undefined || weight > best.weight) best = { verdict, weight };
    if (standing !== 'forged') tried += 1;
    if (tried === MAX_CREDENTIALS_TRIED) break;
  }
  return best?.verdict;
};
