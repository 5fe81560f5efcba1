import type { Clock } from '@muster/kit/clock';

/** Knows whether a tenant may have one more guest. */
export interface GuestCeiling {
  /** False at the ceiling. Asks Postgres once in ten seconds per tenant, and counts in between. */
  admits(tenant: string): Promise<boolean>;
}

interface GuestCeilingDeps {
  readonly clock: Clock;
  /** Live guest sessions of a tenant per ceiling. */
  readonly max: number;
  /** Counts up to `most`. */
  readonly count: (tenant: string, most: number) => Promise<number>;
}

const BELIEVED_MS = 10_000;
const MAX_TENANTS = 10_000;

/** Other replicas open guests meanwhile, so the ceiling may be passed by what they admit in ten seconds. */
export const createGuestCeiling = ({ clock, max, count }: GuestCeilingDeps): GuestCeiling => {
  const known = new Map<string, { until: number; live: number }>();
  const counting = new Map<string, Promise<void>>();

  const recount = async (tenant: string): Promise<void> => {
    const live = await count(tenant, max);
    if (known.size >= MAX_TENANTS) known.clear();
    known.set(tenant, { live, until: clock.monotonic() + BELIEVED_MS });
  };
  const refresh = (tenant: string): Promise<void> => {
    const running = counting.get(tenant) ?? recount(tenant).finally(() => void counting.delete(tenant));
    counting.set(tenant, running);
    return running;
  };
  return {
    admits: async (tenant) => {
      const before = known.get(tenant);
      if (before === undefined || clock.monotonic() >= before.until) await refresh(tenant);
      const now = known.get(tenant);
      if (now === undefined || now.live >= max) return false;
      now.live += 1;
      return true;
    },
  };
};
