/** A session as the API shows it. Instants are ISO 8601 in UTC. */
export interface Session {
  readonly id: string;
  readonly tenant: string;
  /** Null for a guest. */
  readonly user_id: string | null;
  readonly kind: 'user' | 'guest' | 'service';
  /** True if the request was made with this session. */
  readonly current: boolean;
  readonly label: string | null;
  readonly client: {
    readonly kind: string;
    /** Readable description, such as "Firefox on Linux". */
    readonly summary: string | null;
    readonly user_agent: string | null;
    readonly device_id: string | null;
  };
  readonly ip: string | null;
  readonly last_ip: string | null;
  readonly country: string | null;
  readonly auth: {
    readonly time: string | null;
    /** Authenticator assurance level, 0 to 3. */
    readonly aal: number;
    readonly amr: readonly string[];
    readonly idp: string | null;
  };
  /** True while a socket is open; null where that is not known. */
  readonly online: boolean | null;
  /** Open sockets in the whole fleet; null where that is not known. */
  readonly sockets: number | null;
  readonly actor: { readonly id: string; readonly reason: string | null } | null;
  readonly created_at: string;
  readonly last_seen_at: string;
  readonly idle_expires_at: string | null;
  readonly expires_at: string;
  readonly ended_at: string | null;
  readonly end_reason: string | null;
  /** The application's own; absent in lists. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly grants: readonly Grant[];
  readonly rev: number;
}

/** Permissions of a session in the groups whose names match the pattern, such as `chat:*`. */
export interface Grant {
  readonly groups: string;
  readonly allow: readonly ('subscribe' | 'publish' | 'presence' | 'history')[];
}

/** A session that was just opened; `token` if the client keeps it itself, `setCookie` if a browser does. */
export interface OpenedSession extends Session {
  readonly token?: string;
  /** With transport `cookie`: values of `Set-Cookie` for the answer to the browser. They hold the token. */
  readonly setCookie?: readonly string[];
}

/** The answer to a browser, such as Express's `res` or Node's `ServerResponse`. */
export interface CookieReceiver {
  appendHeader(name: string, value: string[]): unknown;
}

/** How a session is opened. */
export interface CreateOptions {
  /** Default: a fresh key for each call. At most 255 printable characters. */
  readonly idempotencyKey?: string;
  /** With transport `cookie`: `Set-Cookie` is added to this answer, and the browser is signed in. */
  readonly res?: CookieReceiver;
}

/** The user that a guest became. */
export interface SessionUpgrade {
  readonly user_id: string;
  readonly remember?: boolean;
  readonly auth?: NewSession['auth'];
}

/** A token that proves a login at a trusted issuer, and what is known of the client. */
export interface TokenExchange {
  readonly token: string;
  /** Default `id_token`. */
  readonly tokenType?: 'id_token' | 'jwt';
  readonly nonce?: string;
  readonly transport?: 'cookie' | 'bearer';
  readonly remember?: boolean;
  readonly label?: string;
  readonly device_id?: string;
  readonly client_kind?: string;
  /** Only with an API key. */
  readonly ip?: string;
  /** Only with an API key. */
  readonly user_agent?: string;
}

/** Content of a new session. Every member but the user has a default. */
export interface NewSession {
  /** Absent: a guest. */
  readonly user_id?: string;
  readonly tenant?: string;
  readonly policy?: string;
  /** False: ends with the browser, and has short clocks. */
  readonly remember?: boolean;
  readonly transport?: 'cookie' | 'bearer';
  readonly label?: string;
  readonly client?: { readonly kind?: string; readonly summary?: string; readonly device_id?: string };
  readonly ip?: string;
  readonly user_agent?: string;
  readonly country?: string;
  readonly auth?: {
    readonly time?: string;
    readonly aal?: number;
    readonly amr?: readonly string[];
    readonly idp?: string;
    readonly idp_sid?: string;
    readonly idp_sub?: string;
  };
  readonly actor?: { readonly id: string; readonly reason?: string };
  readonly data?: Readonly<Record<string, unknown>>;
  readonly grants?: readonly Grant[];
}

/** One page of a list; `next` is the cursor of the following one. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** `pending`: committed, and not yet delivered to replicas that are unreachable. */
export interface EndedSessions {
  readonly propagation: 'done' | 'pending';
}
