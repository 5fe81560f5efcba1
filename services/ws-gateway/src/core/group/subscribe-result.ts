import type { Clock } from '@muster/kit/clock';
import { deltaChain } from '@muster/protocol/payload-delta';
import type { SubscribeResult } from '@muster/protocol/replies';
import type { EngineMetrics } from '../ports.ts';
import { matchingPublications } from './group-frames.ts';
import type { RecoveryStart } from './recovery.ts';
import type { DeliveryOptions } from './subscription.ts';

/** A granted subscription and its start. */
export interface SubscriptionStart {
  readonly delivery: DeliveryOptions;
  readonly isRecoverable: boolean;
  /** Number of the group, for clients with channel compaction. */
  readonly groupId: number;
  /** Present when publications are retained. */
  readonly start: RecoveryStart | undefined;
  /** Position in the client's request, for a recovery. */
  readonly requested: { readonly offset: number };
}

/** The `subscribe` result: delivery options, position and recovered publications. */
export const subscribeResult = (subscribed: SubscriptionStart): SubscribeResult => {
  const { delivery, isRecoverable, groupId, start, requested } = subscribed;
  const { encoding, deltas, filter } = delivery;
  const options = {
    ...(deltas === undefined ? {} : { delta: true }),
    ...(delivery.isCompact ? { compactId: groupId } : {}),
  };
  if (start === undefined || !delivery.isPositioned) return options;
  const { position, recovery } = start;
  const { epoch, offset } = position;
  const base = { ...options, recoverable: isRecoverable, positioned: true, epoch, offset };
  if (recovery === undefined) return base;
  if (!recovery.ok) return { ...base, wasRecovering: true };
  // The client counts from its own offset while it processes the recovered publications.
  const matching = matchingPublications(recovery.publications, filter);
  const isDelta = deltas !== undefined && encoding !== 'plain';
  const publications = isDelta ? deltaChain(matching, encoding) : matching;
  return { ...base, offset: requested.offset, wasRecovering: true, recovered: true, publications };
};

/** Records the result of a requested recovery. */
export const countRecovery = (metrics: EngineMetrics, start: RecoveryStart | undefined): void => {
  const recovery = start?.recovery;
  if (recovery === undefined) return;
  if (recovery.ok) metrics.recovered('complete', recovery.publications.length);
  else metrics.recovered('resync', 0);
};

/** Expiry fields of a reply; none without `expiresAt`, in ms since the Unix epoch. At least one second, because 0 means no expiry. */
export const expiryOf = (
  expiresAt: number | undefined,
  clock: Clock,
): { readonly expires?: true; readonly ttlS?: number } =>
  expiresAt === undefined ? {} : { expires: true, ttlS: Math.max(1, Math.round((expiresAt - clock.now()) / 1000)) };
