/** A live socket, as its gateway tells it. */
export interface SocketInfo {
  readonly tenant: string;
  readonly client: string;
  readonly user: string;
  /** Empty for clients that came without a session of ours. */
  readonly session: string;
  readonly gateway: string;
  readonly transport: string;
  readonly groups: readonly string[];
  /** ISO 8601. */
  readonly openedAt: string;
  /** What waits to be sent to it. */
  readonly lagBytes: number;
}

/** Who answered a question to all gateways. What those that did not have is not known; it is never none. */
export interface GatewayAnswers {
  /** How many answered. */
  readonly gateways: number;
  /** Names of those that may have clients and did not answer. */
  readonly silent: readonly string[];
  /** The only tenant that our key of the server API is good for, and so all that is shown; undefined: any. */
  readonly onlyTenant: string | undefined;
}

/** Sockets, and which gateways told. */
export interface SocketList extends GatewayAnswers {
  readonly sockets: readonly SocketInfo[];
  /** True when there are more than were asked for. */
  readonly more: boolean;
}

/** A session, as operators see it. Times are ISO 8601. */
export interface DeviceInfo {
  readonly id: string;
  readonly tenant: string;
  /** Null for guests. */
  readonly user: string | null;
  readonly kind: string;
  readonly label: string | null;
  readonly client: string | null;
  readonly ip: string | null;
  readonly createdAt: string;
  readonly lastSeenAt: string;
  readonly expiresAt: string;
  readonly endedAt: string | null;
  readonly endReason: string | null;
}

/** Which sessions are meant. Without `tenant` of the tenant of our key, else of `default`. */
export type SessionQuery =
  | { readonly by: 'newest'; readonly tenant?: string | undefined }
  | { readonly by: 'user'; readonly user: string; readonly tenant?: string | undefined }
  | { readonly by: 'ids'; readonly ids: readonly string[] };

/** The sessions of the fleet, asked in the name of an operator. Rejects with AppErrors. */
export interface SessionClient {
  find(query: SessionQuery): Promise<{ readonly devices: readonly DeviceInfo[]; readonly more: boolean }>;
  /** Ends one; true when every gateway has heard of it. Ending what has ended is fine. */
  end(id: string): Promise<boolean>;
}

/** A group of one tenant. */
export interface GroupAddress {
  readonly group: string;
  readonly tenant: string;
}

/** A group with members. */
export interface GroupMembers extends GroupAddress {
  readonly members: number;
}

/** Where a group is: the offset of its last publication. */
export interface GroupStreamPosition {
  readonly offset: number;
  readonly epoch: string;
}

/** The groups of the fleet, asked in the name of an operator. Rejects with AppErrors; FORBIDDEN for a tenant that our key is not good for. */
export interface GatewayClient {
  /** The only tenant that our key is good for; undefined: any. */
  onlyTenant(): Promise<string | undefined>;
  /** Of all tenants that our key is good for, unless one is named. */
  sockets(
    of: { readonly user?: string; readonly group?: string; readonly tenant?: string },
    limit: number,
  ): Promise<SocketList>;
  /** Sockets of each of these sessions. */
  socketsOf(sessions: readonly string[]): Promise<SocketList>;
  /** Groups that have members, by number of members. `*` is all tenants that our key is good for. */
  list(
    pattern: string,
    tenant: string,
  ): Promise<GatewayAnswers & { readonly items: readonly GroupMembers[] }>;
  /** Undefined where a group keeps no history. */
  position(of: GroupAddress): Promise<GroupStreamPosition | undefined>;
  /** Publishes JSON data, once for a key; undefined where a group keeps no history. */
  publish(to: GroupAddress, data: unknown, key: string): Promise<GroupStreamPosition | undefined>;
}
