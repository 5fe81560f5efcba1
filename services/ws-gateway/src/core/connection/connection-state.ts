import type { ClientInfo } from '@muster/protocol/replies';
import type { Subscription } from '../group/subscription.ts';
import type { SubscribePermissionBasis } from '../handlers/subscribe-permissions.ts';
import type { ClientIdentity } from '../ports.ts';
import type { Codec } from './codec.ts';

/** Where a connection is in its life. */
export type Phase =
  | { readonly is: 'greeting' }
  /** The credential is being looked at. */
  | { readonly is: 'connecting' }
  /** `connect` was answered with an error; nothing but the end can follow. */
  | { readonly is: 'refused' }
  | { readonly is: 'live'; readonly identity: ClientIdentity; readonly info: ClientInfo }
  | { readonly is: 'over' };

/** The phases without an identity; one object for all connections. */
export const PHASE = {
  greeting: { is: 'greeting' },
  connecting: { is: 'connecting' },
  refused: { is: 'refused' },
  over: { is: 'over' },
} as const satisfies Record<string, Phase>;

/** The identity of the newer revision of a session. */
export const newerOf = (one: ClientIdentity, other: ClientIdentity | undefined): ClientIdentity =>
  other === undefined || (other.rev ?? 0) <= (one.rev ?? 0) ? one : other;

/** The reason of a renewal that a comparison of revisions showed. */
export const RAISED = 'raised';

/** Whether privileges were raised from one revision of a session to a later one. The secret of the earlier one is retired then. */
export const isRaised = (before: ClientIdentity, after: ClientIdentity): boolean =>
  before.user !== after.user ||
  (after.aal ?? 0) > (before.aal ?? 0) ||
  (after.authTime ?? 0) > (before.authTime ?? Number.POSITIVE_INFINITY);

/** What came with the upgrade. */
export interface Hello {
  /** Session tokens or a ticket, used when `connect` brings none. */
  readonly tokens: readonly string[];
  /** `Origin` of the upgrade. */
  readonly origin: string | undefined;
  /** `Host` of the upgrade. */
  readonly host?: string | undefined;
  /** IPv4 address or IPv6 /64 that the client comes from. */
  readonly address?: string;
  readonly codec: Codec;
  /** The client wants pings of WebSocket itself, not of the protocol. */
  readonly pingsByFrame?: boolean;
}

/** A subscription that is on its way, or one that delivers. */
export type ConnectionSubscription =
  | { readonly is: 'joining'; readonly isServerSide: boolean }
  | {
      readonly is: 'live';
      readonly subscription: Subscription;
      readonly isServerSide: boolean;
      readonly basis: SubscribePermissionBasis;
    };
