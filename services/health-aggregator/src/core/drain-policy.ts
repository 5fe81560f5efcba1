import type { ServiceSnapshot } from './fleet-snapshot.ts';
import { isServing } from './status.ts';

const KEEP_SHARE = 0.5;

/** Whether an instance may be taken out of service, and if not, why. */
export type DrainDecision = { readonly ok: true } | { readonly ok: false; readonly why: string };

/** At least one other instance, and half of those expected, must go on serving. */
export const mayDrain = ({ instances, expected }: ServiceSnapshot, name: string): DrainDecision => {
  const others = instances.filter((one) => one.name !== name && isServing(one.state)).length;
  if (others === 0) return { ok: false, why: 'It is the last instance that serves.' };
  if (others < expected * KEEP_SHARE) {
    return { ok: false, why: `Only ${others} of ${expected} expected instances would go on serving.` };
  }
  return { ok: true };
};
