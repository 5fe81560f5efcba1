import type { Clock } from '@muster/kit/clock';
import { ReadPacing, type ReadPacingDeps } from '../group/read-pacing.ts';
import type { ClientIdentity, EngineMetrics, QuotaLimits, Rate } from '../ports.ts';
import { userKeyOf } from '../ports.ts';
import { TokenBucket } from './rate-limit.ts';
import type { Ticks } from './timer-wheel.ts';

/** A connection as its quota counts it. */
export interface QuotaHolder {
  /** Groups that it is in or about to be in. */
  readonly memberships: { readonly size: number };
}

const MINUTE_S = 60;
/** Quotas without a connection that are remembered, so that a new connection does not begin with a full share. */
const MAX_IDLE = 20_000;

/** {@link QuotaLimits} as rates; one for all quotas. */
interface Rates {
  readonly clock: Clock;
  readonly maxSubscriptions: number;
  readonly newGroups: Rate;
  readonly bytes: Rate;
  readonly reads: ReadPacingDeps;
}

/** The share of one client. */
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

  /** False when all its connections together would be in more groups than they may be. */
  hasRoom(more = 1): boolean {
    const { maxSubscriptions } = this.#rates;
    if (maxSubscriptions === 0) return true;
    let count = more;
    for (const { memberships } of this.holders) count += memberships.size;
    return count <= maxSubscriptions;
  }

  /** False when it has opened as many groups as it may for now. */
  takeNewGroup(): boolean {
    const { clock, newGroups } = this.#rates;
    const now = clock.monotonic();
    this.#newGroups ??= new TokenBucket(newGroups, now);
    return this.#newGroups.take(newGroups, now);
  }

  /** Its readings of streams. */
  get reads(): ReadPacing {
    this.#reads ??= new ReadPacing(this.#rates.reads);
    return this.#reads;
  }

  /** False when it has published as much as it may for now. */
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

/** The quotas of all clients of this gateway. */
export interface ClientQuotas {
  /** The quota of a client. A holder that is given counts until {@link leave}. */
  enter(client: QuotaClient, holder?: QuotaHolder): ClientQuota;
  leave(quota: ClientQuota, holder: QuotaHolder): void;
}

/** Whose quota: a session, else a user, else the address of an anonymous client. */
export type QuotaClient = Pick<ClientIdentity, 'tenant' | 'sessionId' | 'user'> & {
  readonly address: string;
};

export const createClientQuotas = (
  limits: QuotaLimits,
  { clock, ticks, metrics }: ClientQuotasDeps,
): ClientQuotas => {
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
  const rest = (quota: ClientQuota): void => {
    held.delete(quota.key);
    idle.set(quota.key, quota);
    const [oldest] = idle.keys();
    if (idle.size > MAX_IDLE && oldest !== undefined) idle.delete(oldest);
  };
  return {
    enter: (client, holder) => {
      const key = keyOf(client);
      const quota = held.get(key) ?? idle.get(key) ?? new ClientQuota(key, rates);
      if (holder === undefined) {
        if (quota.holders.size === 0) rest(quota);
        return quota;
      }
      idle.delete(key);
      held.set(key, quota);
      quota.holders.add(holder);
      return quota;
    },
    leave: (quota, holder) => {
      if (quota.holders.delete(holder) && quota.holders.size === 0) rest(quota);
    },
  };
};

const keyOf = ({ tenant, sessionId, user, address }: QuotaClient): string => {
  if (sessionId !== undefined) return `session ${sessionId}`;
  return user === '' ? `address ${address}` : `user ${userKeyOf({ tenant, user })}`;
};
