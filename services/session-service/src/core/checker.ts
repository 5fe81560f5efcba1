import type { Clock } from '@muster/kit/clock';
import { type AuthenticateDeps, type Authenticated, authenticate, type Source } from './authenticate.ts';

interface CheckerDeps extends AuthenticateDeps {
  readonly onChecked: (result: string, source: Source, seconds: number) => void;
  readonly clock: Clock;
}

const RESULTS: Readonly<Record<string, string>> = {
  logout: 'revoked',
  expired: 'expired',
  idle: 'expired',
  unknown: 'unknown',
};

/** {@link authenticate} with its verdicts counted and timed. */
export const createChecker =
  (deps: CheckerDeps) =>
  async (token: string): Promise<Authenticated> => {
    const begun = deps.clock.monotonic();
    const seconds = (): number => (deps.clock.monotonic() - begun) / 1000;
    try {
      const verdict = await authenticate(deps, token);
      deps.onChecked(resultOf(verdict), verdict.source, seconds());
      return verdict;
    } catch (error) {
      deps.onChecked('error', 'postgres', seconds());
      throw error;
    }
  };

const resultOf = (verdict: Authenticated): string => {
  if (verdict.ok) return 'valid';
  if (verdict.why === 'invalid') return 'bad_signature';
  return verdict.why === 'ended' ? (RESULTS[verdict.reason] ?? 'revoked') : 'revoked';
};
