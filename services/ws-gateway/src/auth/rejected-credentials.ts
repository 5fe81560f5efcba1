import type { Metrics } from '@muster/kit/metrics';
import type { Refusal, RefusalLog } from '@muster/kit/refusal-log';
import type { AuthenticationResult, SessionAuthenticator } from '../core/ports.ts';

/** Where a credential was shown: with the upgrade, with `connect`, or with a call of the server API. */
type Place = 'handshake' | 'connect' | 'api';

/** Counts and logs what is refused. */
export interface RejectedCredentials {
  /** Credentials, origins and forms. */
  record(at: Place, refusal: Refusal): void;
  /** For what is counted elsewhere. */
  readonly log: RefusalLog;
}

export const createRejectedCredentials = (metrics: Metrics, log: RefusalLog): RejectedCredentials => {
  const refused = metrics.counter('gateway_credentials_refused_total');
  return {
    record: (at, refusal) => {
      refused.inc({ at, reason: refusal.reason });
      log(`gateway.${at}_refused`, refusal);
    },
    log,
  };
};

/** The gate of `connect` commands, whose refusals are recorded with their reason. */
export const withRejectionLog = <G extends SessionAuthenticator>(
  gate: G,
  refusals: Pick<RejectedCredentials, 'record'>,
): G => ({
  ...gate,
  admit: async (shown, holder) => {
    const admission = await gate.admit(shown, holder);
    // What could not be checked is a fault of ours, and is told elsewhere.
    if (!admission.ok && admission.why !== 'unavailable') {
      const { id } = holder as { readonly id?: string };
      refusals.record('connect', { reason: reasonOf(admission), client: id, origin: shown.origin });
    }
    return admission;
  },
});

const reasonOf = (admission: Exclude<AuthenticationResult, { ok: true }>): string => {
  switch (admission.why) {
    case 'invalid':
      return admission.fault ?? 'signature';
    case 'ended':
      return 'session_ended';
    case 'none':
      return 'no_credential';
    case 'crowded':
      return 'connection_limit';
    default:
      return admission.why;
  }
};
