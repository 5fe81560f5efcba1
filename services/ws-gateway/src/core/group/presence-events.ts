import type { Bus } from '@muster/bus/bus';
import { type GroupKey, groupNameOf } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import type { Logger } from '@muster/kit/logger';
import { encodeClientInfo, encodePush } from '@muster/protocol/json-codec';
import type { ClientInfo } from '@muster/protocol/replies';
import type { PresenceInfo } from './subscription.ts';

export interface PresenceEventsDeps {
  readonly bus: Pick<Bus, 'publish'>;
  readonly presence: Pick<Presence, 'add' | 'remove'>;
  readonly log: Logger;
}

/** What others see of a member that comes and goes. */
export interface PresenceEvents {
  /** Resolves when others can see the member. Throws REDIS_UNAVAILABLE. */
  appear(group: GroupKey, who: PresenceInfo | undefined): Promise<void>;
  vanish(group: GroupKey, who: PresenceInfo | undefined): void;
  /** Tells the group, where its options say so. A word that cannot be sent now is not sent later. */
  announce(group: GroupKey, what: 'join' | 'leave', who: PresenceInfo | undefined): void;
  /** The same for a client of a replica that died; `info` is its description as JSON. */
  announceLeave(group: GroupKey, info: string): void;
}

export const createPresenceEvents = ({ bus, presence, log }: PresenceEventsDeps): PresenceEvents => {
  const tell = (group: GroupKey, what: 'join' | 'leave', info: ClientInfo): void => {
    const body = Buffer.from(encodePush({ is: what, channel: groupNameOf(group), info }));
    const message = { kind: what, body, dataAt: 0, dataLength: 0, offset: 0, epoch: '', notes: [] };
    bus
      .publish(group, message)
      .catch((error: unknown) => log.debug({ error }, 'gateway.presence_event_failed'));
  };
  return {
    appear: async (group, who) => {
      if (who?.isPresent) await presence.add(group, who.client, encodeClientInfo(who.info));
    },
    vanish: (group, who) => {
      if (who?.isPresent) void presence.remove(group, who.client);
    },
    announce: (group, what, who) => {
      if (who?.isAnnounced) tell(group, what, who.info);
    },
    announceLeave: (group, info) => {
      const { user, client } = JSON.parse(info) as ClientInfo;
      tell(group, 'leave', { user, client });
    },
  };
};
