import type { Metrics } from '@muster/kit/metrics';
import type { Refusal, RefusalLog } from '@muster/kit/refusal-log';
import { andThen } from '../core/maybe-promise.ts';
import type { AuthenticationResult, SessionAuthenticator } from '../core/ports.ts';

/** Where a credential was presented: the upgrade, the `connect` command, or a call of the server API. */
type PresentedAt = 'handshake' | 'connect' | 'api';

export type RejectedCredentials = ReturnType<typeof createRejectedCredentials>;

/** Counts and logs rejected credentials, by reason. */
export const createRejectedCredentials = (metrics: Metrics, log: RefusalLog) => {
  const rejections = metrics.counter('gateway_credentials_refused_total');
  return {
    /** Counts and logs a rejected credential, origin or malformed handshake. */
    record: (at: PresentedAt, refusal: Refusal): void => {
      rejections.inc({ at, reason: refusal.reason });
      log(`gateway.${at}_refused`, refusal);
    },
    /** Logs a rejection that is counted by another metric. */
    log,
  };
};

/** An authenticator of `connect` commands that records rejections with their reason. */
export const withRejectionLog = <A extends SessionAuthenticator>(
  authenticator: A,
  rejected: Pick<RejectedCredentials, 'record'>,
): A => ({
  ...authenticator,
  authenticate: (shown, holder) =>
    andThen(authenticator.authenticate(shown, holder), (result) => {
      // An unavailable store is not a rejection; it is logged where it occurs.
      if (!result.ok && result.why !== 'unavailable') {
        const { id } = holder as { readonly id?: string };
        rejected.record('connect', { reason: reasonOf(result), client: id, origin: shown.origin });
      }
      return result;
    }),
});

const reasonOf = (result: Exclude<AuthenticationResult, { ok: true }>): string => {
  switch (result.why) {
    case 'invalid':
      return result.fault ?? 'signature';
    case 'ended':
      return 'session_ended';
    case 'none':
      return 'no_credential';
    case 'limit_reached':
      return 'connection_limit';
    default:
      return result.why;
  }
};
