import type { Clock } from '@muster/kit/clock';
import { ReadPacing, type ReadPacingDeps } from '../group/stream-read-limit.ts';
import { type ClientIdentity, type EngineMetrics, type QuotaLimits, type Rate, userKeyOf } from '../ports.ts';
import { TokenBucket } from './rate-limit.ts';
import type { Ticks } from './timer-wheel.ts';

/** A connection of the client. */
export interface QuotaHolder {
  /** Live and pending subscriptions. */
  readonly memberships: { readonly size: number };
}

const MINUTE_S = 60;
/** Quotas kept without a connection, so that a reconnect does not restore the full quota. */
const MAX_IDLE = 20_000;

/** {@link QuotaLimits} as rates, shared by all quotas. */
interface Rates {
  readonly clock: Clock;
  readonly maxSubscriptions: number;
  readonly newGroups: Rate;
  readonly bytes: Rate;
  readonly reads: ReadPacingDeps;
}

/** Usage of one client over all its connections. */
export class ClientQuota {
  readonly key: string;
  readonly holders = new Set<QuotaHolder>();
  readonly #rates: Rates;
  #newGroups: TokenBucket | undefined = undefined;
  #bytes: TokenBucket | undefined = undefined;
  #reads: ReadPacing | undefined = undefined;

  constructor(key: string, rates: Rates) {
    this.key = key;
    this.#rates = rates;
  }

  /** False when `more` subscriptions would exceed the limit. */
  hasRoom(more = 1): boolean {
    const { maxSubscriptions } = this.#rates;
    if (maxSubscriptions === 0) return true;
    let count = more;
    for (const { memberships } of this.holders) count += memberships.size;
    return count <= maxSubscriptions;
  }

  /** Counts a new group; false above the rate. */
  takeNewGroup(): boolean {
    const { clock, newGroups } = this.#rates;
    const now = clock.monotonic();
    this.#newGroups ??= new TokenBucket(newGroups, now);
    return this.#newGroups.take(newGroups, now);
  }

  /** Pacing of its stream reads. */
  get reads(): ReadPacing {
    this.#reads ??= new ReadPacing(this.#rates.reads);
    return this.#reads;
  }

  /** Counts published bytes; false above the rate. */
  takeBytes(count: number): boolean {
    const { clock, bytes } = this.#rates;
    const now = clock.monotonic();
    this.#bytes ??= new TokenBucket(bytes, now);
    return this.#bytes.take(bytes, now, count);
  }
}

export interface ClientQuotasDeps {
  readonly clock: Clock;
  readonly ticks: Pick<Ticks, 'next'>;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
}

/** Identifies a quota: by session, else by user, else by the address of an anonymous client. */
export type QuotaClient = Pick<ClientIdentity, 'tenant' | 'sessionId' | 'user'> & {
  readonly address: string;
};

/** The quotas of all clients of this gateway. */
export const createClientQuotas = (limits: QuotaLimits, { clock, ticks, metrics }: ClientQuotasDeps) => {
  const held = new Map<string, ClientQuota>();
  const idle = new Map<string, ClientQuota>();
  const rates: Rates = {
    clock,
    maxSubscriptions: limits.maxSubscriptionsPerSession,
    newGroups: {
      perSecond: limits.maxNewGroupsPerMinute / MINUTE_S,
      burst: limits.maxNewGroupsPerMinute,
    },
    bytes: {
      perSecond: limits.maxPublishedBytesPerS,
      burst: limits.maxPublishedBytesPerS * MINUTE_S,
    },
    reads: {
      ...{ clock, ticks, bytesPerS: limits.maxReadBytesPerS },
      onDelayed: () => metrics.rateLimited('read_bytes'),
    },
  };
  const keepIdle = (quota: ClientQuota): void => {
    held.delete(quota.key);
    idle.set(quota.key, quota);
    const [oldest] = idle.keys();
    if (idle.size > MAX_IDLE && oldest !== undefined) idle.delete(oldest);
  };
  return {
    /** The quota of a client. A holder counts until `leave`. */
    enter: (client: QuotaClient, holder?: QuotaHolder): ClientQuota => {
      const key = keyOf(client);
      const quota = held.get(key) ?? idle.get(key) ?? new ClientQuota(key, rates);
      if (holder === undefined) {
        if (quota.holders.size === 0) keepIdle(quota);
        return quota;
      }
      idle.delete(key);
      held.set(key, quota);
      quota.holders.add(holder);
      return quota;
    },
    leave: (quota: ClientQuota, holder: QuotaHolder): void => {
      if (quota.holders.delete(holder) && quota.holders.size === 0) keepIdle(quota);
    },
  };
};

export type ClientQuotas = ReturnType<typeof createClientQuotas>;

const keyOf = ({ tenant, sessionId, user, address }: QuotaClient): string => {
  if (sessionId !== undefined) return `session ${sessionId}`;
  return user === '' ? `address ${address}` : `user ${userKeyOf({ tenant, user })}`;
};
