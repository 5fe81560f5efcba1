/** Open connection as the method `connections` returns it. */
export interface ConnectionInfo {
  readonly tenant: string;
  readonly client: string;
  /** Empty for an anonymous client. */
  readonly user: string;
  /** Empty for a client without a session. */
  readonly session: string;
  readonly gateway: string;
  readonly transport: 'websocket' | 'plain';
  readonly groups: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
  /** Bytes in the send buffer. */
  readonly lag: number;
  /** Groups in which the client lags behind the stream. */
  readonly behind: readonly string[];
}

/** Gateway as the method `info` returns it; the counts are those of the tenant that the API key allows. */
export interface NodeInfo {
  readonly uid: string;
  readonly name: string;
  readonly version: string;
  readonly num_clients: number;
  readonly num_users: number;
  readonly num_subs: number;
  readonly num_channels: number;
  /** Seconds. */
  readonly uptime: number;
}

/** Result of the method `connections`. */
export interface ConnectionsResult {
  readonly connections: readonly ConnectionInfo[];
  /** Number of gateways that answered. */
  readonly gateways: number;
}

/** Result of the method `info`. */
export interface InfoResult {
  /** Tenant that the API key is bound to; undefined for a key of all tenants. */
  readonly tenant?: string | undefined;
  readonly nodes: readonly NodeInfo[];
}

/** Result of the method `channels`. */
export interface ChannelsResult {
  readonly channels: Readonly<
    Record<
      string,
      {
        readonly num_clients: number;
        /** Clients by tenant, for the query `tenant: "*"`. */
        readonly tenants?: Readonly<Record<string, number>> | undefined;
      }
    >
  >;
}

/** Error of a method; codes as in `errors.ts`. */
export interface ServerApiError {
  readonly code: number;
  readonly message: string;
}

/** Response body of every method: either `result` or `error`. */
export interface ServerApiResponse<T> {
  readonly result?: T | undefined;
  readonly error?: ServerApiError | undefined;
}
