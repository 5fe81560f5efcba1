import type { Clock } from '@muster/kit/clock';

/** The limit of live guest sessions per tenant. */
export type GuestCeiling = ReturnType<typeof createGuestCeiling>;

interface GuestCeilingDeps {
  readonly clock: Clock;
  /** Most live guest sessions of a tenant. */
  readonly max: number;
  /** Counts the live guest sessions of a tenant, at most `max`. */
  readonly count: (tenant: string, max: number) => Promise<number>;
}

const RECOUNT_MS = 10_000;
const MAX_TENANTS = 10_000;

/** Counts in Postgres every ten seconds. Other replicas may exceed the limit by the guests they admit in that time. */
export const createGuestCeiling = ({ clock, max, count }: GuestCeilingDeps) => {
  const counts = new Map<string, { until: number; live: number }>();
  const counting = new Map<string, Promise<void>>();

  const recount = async (tenant: string): Promise<void> => {
    const live = await count(tenant, max);
    if (counts.size >= MAX_TENANTS) counts.clear();
    counts.set(tenant, { live, until: clock.monotonic() + RECOUNT_MS });
  };
  const refresh = (tenant: string): Promise<void> => {
    const running = counting.get(tenant) ?? recount(tenant).finally(() => void counting.delete(tenant));
    counting.set(tenant, running);
    return running;
  };
  return {
    /** Admits one more guest session; false at the limit. */
    admits: async (tenant: string): Promise<boolean> => {
      const before = counts.get(tenant);
      if (before === undefined || clock.monotonic() >= before.until) await refresh(tenant);
      const current = counts.get(tenant);
      if (current === undefined || current.live >= max) return false;
      current.live += 1;
      return true;
    },
  };
};
