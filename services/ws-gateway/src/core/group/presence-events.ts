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

/** Presence entries and join/leave messages of members, if the options of their groups enable them. */
export const createPresenceEvents = ({ bus, presence, log }: PresenceEventsDeps) => {
  const send = (group: GroupKey, kind: 'join' | 'leave', info: ClientInfo): void => {
    const body = Buffer.from(encodePush({ is: kind, channel: groupNameOf(group), info }));
    const message = { kind, body, dataAt: 0, dataLength: 0, offset: 0, epoch: '', attributes: [] };
    bus.publish(group, message).catch((error: unknown) => log.debug({ error }, 'gateway.presence_event_failed'));
  };
  return {
    /** Resolves when the member is listed, rejects with REDIS_UNAVAILABLE. Undefined for one that is not listed. */
    add: (group: GroupKey, member: PresenceInfo | undefined): Promise<void> | undefined =>
      member?.isPresent ? presence.add(group, member.client, encodeClientInfo(member.info)) : undefined,
    remove: (group: GroupKey, member: PresenceInfo | undefined): void => {
      if (member?.isPresent) void presence.remove(group, member.client);
    },
    /** Sends a join or leave message, at most once: a failed one is not repeated. */
    announce: (group: GroupKey, kind: 'join' | 'leave', member: PresenceInfo | undefined): void => {
      if (member?.isAnnounced) send(group, kind, member.info);
    },
    /** Sends the leave message of a client of a crashed replica; `info` is its description as JSON. */
    announceLeave: (group: GroupKey, info: string): void => {
      const { user, client } = JSON.parse(info) as ClientInfo;
      send(group, 'leave', { user, client });
    },
  };
};
