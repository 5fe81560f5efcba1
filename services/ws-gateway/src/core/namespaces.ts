import type { StreamRetention } from '@muster/bus/streams';
import type { Payload } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';

/** How groups of one namespace behave, and what clients may do in them. */
export interface GroupOptions {
  /** Whether it is known who is there. */
  readonly presence: boolean;
  readonly joinLeave: boolean;
  /** Join and leave are sent to subscribers that did not ask for them. */
  readonly forcePushJoinLeave: boolean;
  /** Undefined: publications are not kept. */
  readonly retention: StreamRetention | undefined;
  /** A client's publication is kept even where nobody has ever subscribed. */
  readonly keepWithoutSubscribers: boolean;
  readonly forceRecovery: boolean;
  readonly allowRecovery: boolean;
  readonly forcePositioning: boolean;
  readonly allowPositioning: boolean;
  /** `cache`: a client that comes back gets the newest publication only. */
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
  /** The application is asked before a client subscribes; and before a client's publication is made. */
  readonly subscribeCallback: boolean;
  readonly publishCallback: boolean;
  /** Kinds of deltas that subscribers may ask for. */
  readonly allowedDeltaTypes: readonly 'fossil'[];
  /** Every publication may go out as a delta; otherwise those whose publisher says so. */
  readonly deltaPublish: boolean;
  /** Who may know groups by numbers. Not Protobuf clients by default: the JavaScript SDK mistakes numbers of 64 bits there. */
  readonly channelCompaction: 'json' | 'all' | 'none';
  /** What payloads must be: `json` refuses bytes that are no JSON, `json_object` all but objects. */
  readonly publicationDataFormat: 'any' | 'json' | 'json_object';
  /** What names must match, the namespace included. */
  readonly nameRegex: { test(name: string): boolean } | undefined;
  /** Members of one group on one gateway; 0 for no limit. */
  readonly maxMembers: number;
  /** Publications of all clients per second in one group on one gateway, twice as many in a burst; 0 for no limit. */
  readonly publishRate: number;
  /** What is done about a member that does not read fast enough: it is closed, or skipped and caught up later from what is kept. */
  readonly slowPolicy: 'disconnect' | 'lag';
}

/** What holds where nothing was said: everything that signed-in clients of an application usually need. */
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
  /** Undefined: this namespace does not exist. */
  optionsOf(group: GroupName): GroupOptions | undefined;
}

/** The parts of a configuration of groups. */
export interface NamespaceTable {
  readonly withoutNamespace: GroupOptions;
  readonly namespaces: ReadonlyMap<string, GroupOptions>;
}

/** Every group has the default options, whatever its name. */
export const openNamespaces: Namespaces = { optionsOf: () => DEFAULT_OPTIONS };

/** Looks names up in a table that may change while the process runs. */
export const createNamespaces = (table: () => NamespaceTable): Namespaces => ({
  optionsOf: (group) => {
    const name = namespaceOf(group);
    return name === undefined ? table().withoutNamespace : table().namespaces.get(name);
  },
});

/** `$chat:1` and `chat:1` are both of `chat`; a name without a colon is of none. Users after `#` may have colons of their own. */
const namespaceOf = (group: GroupName): string | undefined => {
  const colon = group.indexOf(':');
  const users = group.indexOf('#');
  if (colon < 0 || (users >= 0 && users < colon)) return undefined;
  const name = group.slice(0, colon);
  return name.startsWith('$') ? name.slice(1) : name;
};

/** Whether a group takes this payload. `isBinary`: it stands for bytes that are no JSON. */
export const acceptsPayload = (
  { publicationDataFormat }: Pick<GroupOptions, 'publicationDataFormat'>,
  data: Payload,
  isBinary: boolean,
): boolean => {
  switch (publicationDataFormat) {
    case 'any':
      return true;
    case 'json':
      return !isBinary;
    case 'json_object':
      return !isBinary && data.trimStart().startsWith('{');
    default:
      return publicationDataFormat satisfies never;
  }
};
