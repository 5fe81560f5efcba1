import type { ServiceSnapshot } from './fleet-snapshot.ts';
import { isServing } from './status.ts';

const MIN_SERVING_SHARE = 0.5;

/** Decision on a drain, with the reason of a rejection. */
export type DrainDecision = { readonly ok: true } | { readonly ok: false; readonly why: string };

/** An instance may be drained while at least one other instance, and half of the expected number, serve. */
export const mayDrain = ({ instances, expected }: ServiceSnapshot, name: string): DrainDecision => {
  const others = instances.filter((instance) => instance.name !== name && isServing(instance.state)).length;
  if (others === 0) return { ok: false, why: 'No other instance of this service is serving.' };
  if (others < expected * MIN_SERVING_SHARE) {
    return { ok: false, why: `Only ${others} of ${expected} expected instances would be left serving.` };
  }
  return { ok: true };
};
