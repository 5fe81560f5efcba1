import { deltaChain } from '@muster/protocol/delta';
import type { SubscribeResult } from '@muster/protocol/replies';
import type { EngineMetrics } from '../ports.ts';
import type { RecoveryStart } from './recovery.ts';
import type { DeliveryOptions } from './subscription.ts';
import { wantedOf } from './tags.ts';

/** What a member was granted and where it begins. */
export interface SubscriptionStart {
  readonly service: DeliveryOptions;
  readonly isRecoverable: boolean;
  /** Number of the group, told to members that use it. */
  readonly groupId: number;
  /** There when publications are kept. */
  readonly start: RecoveryStart | undefined;
  /** Where the client says it was, when it wants to catch up. */
  readonly asked: { readonly offset: number };
}

/** What a new member is told: its terms, its position, and what it missed. */
export const subscribeResult = ({
  service,
  isRecoverable,
  groupId,
  start,
  asked,
}: SubscriptionStart): SubscribeResult => {
  const { encoding, deltas, filter } = service;
  const terms = {
    ...(deltas === undefined ? {} : { delta: true }),
    ...(service.isCompact ? { compactId: groupId } : {}),
  };
  if (start === undefined || !service.isPositioned) return terms;
  const { position, recovery } = start;
  const { epoch, offset } = position;
  const base = { ...terms, recoverable: isRecoverable, positioned: true, epoch, offset };
  if (recovery === undefined) return base;
  if (!recovery.ok) return { ...base, wasRecovering: true };
  // The client counts on from where it was, while it goes through what it missed.
  const wanted = wantedOf(recovery.publications, filter);
  const isDelta = deltas !== undefined && encoding !== 'plain';
  const publications = isDelta ? deltaChain(wanted, encoding) : wanted;
  return { ...base, offset: asked.offset, wasRecovering: true, recovered: true, publications };
};

/** Counts a client that wanted to catch up. */
export const countRecovery = (metrics: EngineMetrics, start: RecoveryStart | undefined): void => {
  const recovery = start?.recovery;
  if (recovery === undefined) return;
  if (recovery.ok) metrics.recovered('complete', recovery.publications.length);
  else metrics.recovered('resync', 0);
};
