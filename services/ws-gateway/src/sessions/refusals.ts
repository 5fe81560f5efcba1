import type { Metrics } from '@muster/kit/metrics';
import type { Refusal, RefusalLog } from '@muster/kit/refusal-log';
import type { Admission, SessionGate } from '../core/ports.ts';

/** Where a credential was shown: with the upgrade, or with `connect`. */
type Place = 'handshake' | 'connect';

/** Counts and logs credentials and origins that are refused. */
export type RefusalRecorder = (at: Place, refusal: Refusal) => void;

export const createRefusalRecorder = (metrics: Metrics, log: RefusalLog): RefusalRecorder => {
  const refused = metrics.counter('gateway_credentials_refused_total');
  return (at, refusal) => {
    refused.inc({ at, reason: refusal.reason });
    log(`gateway.${at}_refused`, refusal);
  };
};

/** The gate of `connect` commands, whose refusals are recorded with their reason. */
export const withRefusals = <G extends SessionGate>(gate: G, record: RefusalRecorder): G => ({
  ...gate,
  admit: async (shown, holder) => {
    const admission = await gate.admit(shown, holder);
    // What could not be checked is a fault of ours, and is told elsewhere.
    if (!admission.ok && admission.why !== 'unavailable') {
      const { id } = holder as { readonly id?: string };
      record('connect', { reason: reasonOf(admission), client: id, origin: shown.origin });
    }
    return admission;
  },
});

const reasonOf = (admission: Exclude<Admission, { ok: true }>): string => {
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
