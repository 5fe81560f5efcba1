import { MAX_CLOSE_REASON_BYTES } from './limits.ts';

/**
 * Close codes. Clients reconnect after 3000–3499 and 4000–4499, and do not after 3500–3999 and 4500–4999. Codes below
 * 3000 are those of RFC 6455.
 */
export const CloseCode = {
  TooBig: 1009,
  Closed: 3000,
  Shutdown: 3001,
  InternalError: 3004,
  Expired: 3005,
  SubscriptionExpired: 3006,
  Slow: 3008,
  WriteError: 3009,
  InsufficientState: 3010,
  ForceReconnect: 3011,
  NoPong: 3012,
  TooManyRequests: 3013,
  StateInvalidated: 3014,
  InvalidToken: 3500,
  BadRequest: 3501,
  Stale: 3502,
  ForceDisconnect: 3503,
  ConnectionLimit: 3504,
  GroupLimit: 3505,
  InappropriateProtocol: 3506,
  PermissionDenied: 3507,
  NotAvailable: 3508,
  TooManyErrors: 3509,
  SessionEnded: 4501,
  Forbidden: 4503,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/**
 * The reason sent with each code. Never empty and never JSON: the JavaScript SDK parses the reason first, and
 * an empty or parseable one makes a terminal close look like a temporary one.
 */
export const CLOSE_REASON: Readonly<Record<CloseCode, string>> = {
  1009: 'message too big',
  3000: 'connection closed',
  3001: 'shutdown',
  3004: 'internal server error',
  3005: 'connection expired',
  3006: 'subscription expired',
  3008: 'slow',
  3009: 'write error',
  3010: 'insufficient state',
  3011: 'force reconnect',
  3012: 'no pong',
  3013: 'too many requests',
  3014: 'state invalidated',
  3500: 'invalid token',
  3501: 'bad request',
  3502: 'stale',
  3503: 'force disconnect',
  3504: 'connection limit',
  3505: 'channel limit',
  3506: 'inappropriate protocol',
  3507: 'permission denied',
  3508: 'not available',
  3509: 'too many errors',
  4501: 'session ended',
  4503: 'forbidden',
};

/** True when clients reconnect after a close with this code. */
export const reconnects = (code: number): boolean => {
  if (code === CloseCode.TooBig) return false;
  const terminal = (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
  return !terminal;
};

/** True when clients read code and reason correctly: 3000–4999, and a reason of 1 to 123 bytes that is not JSON. */
export const maySendClose = (code: number, reason: string): boolean =>
  Number.isInteger(code) &&
  code >= 3000 &&
  code <= 4999 &&
  reason !== '' &&
  new TextEncoder().encode(reason).length <= MAX_CLOSE_REASON_BYTES &&
  !isJson(reason);

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** Error codes of replies; the connection stays open. */
export const ReplyError = {
  Internal: 100,
  Unauthorized: 101,
  UnknownGroup: 102,
  PermissionDenied: 103,
  MethodNotFound: 104,
  AlreadySubscribed: 105,
  LimitExceeded: 106,
  BadRequest: 107,
  NotAvailable: 108,
  TokenExpired: 109,
  Expired: 110,
  TooManyRequests: 111,
  UnrecoverablePosition: 112,
} as const;
export type ReplyError = (typeof ReplyError)[keyof typeof ReplyError];

interface ReplyErrorText {
  readonly message: string;
  /** True: clients retry with back-off. */
  readonly temporary: boolean;
}

export const REPLY_ERRORS: Readonly<Record<ReplyError, ReplyErrorText>> = {
  100: { message: 'internal server error', temporary: true },
  101: { message: 'unauthorized', temporary: false },
  102: { message: 'unknown channel', temporary: false },
  103: { message: 'permission denied', temporary: false },
  104: { message: 'method not found', temporary: false },
  105: { message: 'already subscribed', temporary: false },
  106: { message: 'limit exceeded', temporary: false },
  107: { message: 'bad request', temporary: false },
  108: { message: 'not available', temporary: false },
  109: { message: 'token expired', temporary: false },
  110: { message: 'expired', temporary: false },
  111: { message: 'too many requests', temporary: true },
  112: { message: 'unrecoverable position', temporary: false },
};

/** Reply error with the cause after a colon. */
export const errorWithReason = (code: ReplyError, reason: string): ReplyErrorText & { readonly code: ReplyError } => {
  const { message, temporary } = REPLY_ERRORS[code];
  return { code, message: `${message}: ${reason}`, temporary };
};

/** Codes of `unsubscribe` pushes. Below 2500 final; from 2500 on clients subscribe again at once. */
export const UnsubscribeCode = {
  Server: 2000,
  InsufficientState: 2500,
  Expired: 2501,
  StateInvalidated: 2502,
} as const;
export type UnsubscribeCode = (typeof UnsubscribeCode)[keyof typeof UnsubscribeCode];

export const UNSUBSCRIBE_REASON: Readonly<Record<UnsubscribeCode, string>> = {
  2000: 'server unsubscribe',
  2500: 'insufficient state',
  2501: 'subscription expired',
  2502: 'state invalidated',
};
