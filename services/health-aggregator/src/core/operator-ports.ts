/** An open connection, as its gateway reports it. */
export interface SocketInfo {
  readonly tenant: string;
  readonly client: string;
  readonly user: string;
  /** Empty for clients without a session. */
  readonly session: string;
  readonly gateway: string;
  readonly transport: string;
  readonly groups: readonly string[];
  /** ISO 8601. */
  readonly openedAt: string;
  /** Bytes in its send buffer. */
  readonly lagBytes: number;
}

/** Gateways that responded to a query of all. The data of the others is unknown, never empty. */
export interface GatewayAnswers {
  /** Number of gateways that responded. */
  readonly gateways: number;
  /** Names of gateways that may have clients and did not respond. */
  readonly silent: readonly string[];
  /** The tenant that the server API key is bound to; undefined: all tenants. */
  readonly onlyTenant: string | undefined;
}

/** Open connections, and the gateways that responded. */
export interface SocketList extends GatewayAnswers {
  readonly sockets: readonly SocketInfo[];
  /** True when there are more than the limit of the query. */
  readonly more: boolean;
}

/** A session for operators. Times in ISO 8601. */
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

/** A query for sessions. Without `tenant`: of the tenant of the API key, else of `default`. */
export type SessionQuery =
  | { readonly by: 'newest'; readonly tenant?: string | undefined }
  | { readonly by: 'user'; readonly user: string; readonly tenant?: string | undefined }
  | { readonly by: 'ids'; readonly ids: readonly string[] };

/** Access to the session services on behalf of an operator. Rejects with an AppError. */
export interface SessionClient {
  find(query: SessionQuery): Promise<{ readonly devices: readonly DeviceInfo[]; readonly more: boolean }>;
  /** Ends a session; true when every gateway was notified. An ended session is not an error. */
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

/** Position of the last publication of a group. */
export interface GroupStreamPosition {
  readonly offset: number;
  readonly epoch: string;
}

/** Access to the gateways on behalf of an operator. Rejects with an AppError; FORBIDDEN for a tenant other than that of the key. */
export interface GatewayClient {
  /** The tenant that the key is bound to; undefined: all tenants. */
  onlyTenant(): Promise<string | undefined>;
  /** Of all tenants of the key, unless one is named. */
  sockets(
    of: { readonly user?: string; readonly group?: string; readonly tenant?: string },
    limit: number,
  ): Promise<SocketList>;
  /** Open connections of these sessions. */
  socketsOf(sessions: readonly string[]): Promise<SocketList>;
  /** Groups with members, by number of members. The tenant `*` is all tenants of the key. */
  list(pattern: string, tenant: string): Promise<GatewayAnswers & { readonly items: readonly GroupMembers[] }>;
  /** Undefined for a group without history. */
  position(of: GroupAddress): Promise<GroupStreamPosition | undefined>;
  /** Publishes JSON data, once for an idempotency key; undefined for a group without history. */
  publish(to: GroupAddress, data: unknown, key: string): Promise<GroupStreamPosition | undefined>;
}
