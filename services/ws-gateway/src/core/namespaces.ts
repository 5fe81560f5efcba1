import type { StreamRetention } from '@muster/bus/streams';
import type { Payload } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';

/** Options of the groups of one namespace. */
export interface GroupOptions {
  /** Members are listed in presence. */
  readonly presence: boolean;
  readonly joinLeave: boolean;
  /** Join and leave messages are sent to all subscribers, requested or not. */
  readonly forcePushJoinLeave: boolean;
  /** Undefined: publications are not retained. */
  readonly retention: StreamRetention | undefined;
  /** Client publications are retained also in groups that never had a subscriber. */
  readonly keepWithoutSubscribers: boolean;
  readonly forceRecovery: boolean;
  readonly allowRecovery: boolean;
  readonly forcePositioning: boolean;
  readonly allowPositioning: boolean;
  /** `cache`: a recovery returns the newest publication only. */
  readonly recoveryMode: 'stream' | 'cache';
  readonly allowSubscribeForClient: boolean;
  readonly allowSubscribeForAnonymous: boolean;
  readonly allowPublishForClient: boolean;
  readonly allowPublishForSubscriber: boolean;
  readonly allowPublishForAnonymous: boolean;
  readonly allowPresenceForClient: boolean;
  readonly allowPresenceForSubscriber: boolean;
  readonly allowPresenceForAnonymous: boolean;
  readonly allowHistoryForClient: boolean;
  readonly allowHistoryForSubscriber: boolean;
  readonly allowHistoryForAnonymous: boolean;
  readonly allowTagsFilter: boolean;
  /** The application decides on subscriptions and on publications of clients. */
  readonly subscribeCallback: boolean;
  readonly publishCallback: boolean;
  /** Delta types that subscribers may request. */
  readonly allowedDeltaTypes: readonly 'fossil'[];
  /** Deltas of all publications; false: of those marked by their publisher. */
  readonly deltaPublish: boolean;
  /** Encodings with channel compaction. Not Protobuf by default: the JavaScript SDK misreads 64-bit numbers there. */
  readonly channelCompaction: 'json' | 'all' | 'none';
  /** Accepted payloads: `json` rejects bytes that are not JSON, `json_object` anything but objects. */
  readonly publicationDataFormat: 'any' | 'json' | 'json_object';
  /** Pattern of group names, including the namespace. */
  readonly nameRegex: { test(name: string): boolean } | undefined;
  /** Members of one group on one gateway; 0: unlimited. */
  readonly maxMembers: number;
  /** Client publications per second in one group on one gateway, with a burst of twice as many; 0: unlimited. */
  readonly publishRate: number;
  /** Action on a slow consumer: close it, or skip it and catch it up from the retained publications. */
  readonly slowPolicy: 'disconnect' | 'lag';
}

/** Default options: permissions that signed-in clients of an application usually need. */
export const DEFAULT_OPTIONS: GroupOptions = {
  presence: true,
  joinLeave: false,
  forcePushJoinLeave: false,
  retention: { size: 300, ttlMs: 300_000, metaTtlMs: 3_000_000 },
  keepWithoutSubscribers: false,
  forceRecovery: true,
  allowRecovery: true,
  forcePositioning: false,
  allowPositioning: true,
  recoveryMode: 'stream',
  allowSubscribeForClient: true,
  allowSubscribeForAnonymous: false,
  allowPublishForClient: true,
  allowPublishForSubscriber: true,
  allowPublishForAnonymous: false,
  allowPresenceForClient: false,
  allowPresenceForSubscriber: true,
  allowPresenceForAnonymous: false,
  allowHistoryForClient: false,
  allowHistoryForSubscriber: true,
  allowHistoryForAnonymous: false,
  allowTagsFilter: true,
  subscribeCallback: false,
  publishCallback: false,
  allowedDeltaTypes: ['fossil'],
  deltaPublish: true,
  channelCompaction: 'json',
  publicationDataFormat: 'any',
  nameRegex: undefined,
  maxMembers: 0,
  publishRate: 0,
  slowPolicy: 'disconnect',
};

/** The options of every group. */
export interface Namespaces {
  /** Undefined for an unknown namespace. */
  optionsOf(group: GroupName): GroupOptions | undefined;
}

/** The configured options of groups. */
export interface NamespaceTable {
  readonly withoutNamespace: GroupOptions;
  readonly namespaces: ReadonlyMap<string, GroupOptions>;
}

/** Default options for every group. */
export const openNamespaces: Namespaces = { optionsOf: () => DEFAULT_OPTIONS };

/** Options by namespace, from a reloadable table. */
export const createNamespaces = (table: () => NamespaceTable): Namespaces => ({
  optionsOf: (group) => {
    const name = namespaceOf(group);
    return name === undefined ? table().withoutNamespace : table().namespaces.get(name);
  },
});

/** The namespace of `$chat:1` and `chat:1` is `chat`; undefined without a colon. User ids after `#` may contain colons. */
const namespaceOf = (group: GroupName): string | undefined => {
  const colon = group.indexOf(':');
  const users = group.indexOf('#');
  if (colon < 0 || (users >= 0 && users < colon)) return undefined;
  const name = group.slice(0, colon);
  return name.startsWith('$') ? name.slice(1) : name;
};

/** True when the group accepts this payload. `isBinary`: it is base64 of bytes that are not JSON. */
export const acceptsPayload = (
  { publicationDataFormat }: Pick<GroupOptions, 'publicationDataFormat'>,
  data: Payload,
  isBinary: boolean,
): boolean => {
  if (publicationDataFormat === 'any') return true;
  return !isBinary && (publicationDataFormat === 'json' || data.trimStart().startsWith('{'));
};
