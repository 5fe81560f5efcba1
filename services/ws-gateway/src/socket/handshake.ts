import type { IncomingHttpHeaders } from 'node:http';
import { AppError } from '@muster/protocol/errors';
import { ambiguousCredential, readCredential } from '@muster/session/credential';

/** Credential, origin and host of an upgrade request. */
export interface Handshake {
  readonly via: 'ticket' | 'bearer' | 'cookie' | 'none';
  readonly tokens: readonly string[];
  readonly origin: string | undefined;
  /** `Host` of the upgrade. */
  readonly host: string | undefined;
}

export interface HandshakeRules {
  readonly cookieName: string;
  readonly allowedOrigins: readonly string[];
}

/**
 * Reads origin and credential of an upgrade. An `Origin` must be in `ALLOWED_ORIGINS`, whatever the credential; a cookie without
 * `Origin` is rejected, because browsers always send one. A ticket takes precedence over other credentials. Throws {@link AppError}.
 */
export const readHandshake = (headers: IncomingHttpHeaders, rules: HandshakeRules): Handshake => {
  const { origin, host } = headers;
  if (origin !== undefined && !rules.allowedOrigins.includes(origin)) {
    throw new AppError('ORIGIN_NOT_ALLOWED', {
      detail: `Origin ${printableOrigin(origin)} is not in ALLOWED_ORIGINS.`,
    });
  }
  const ticket = ticketOf(headers['sec-websocket-protocol']);
  if (ticket !== undefined) return { via: 'ticket', tokens: [ticket], origin, host };
  const { via, tokens } = readCredential(headers, rules.cookieName);
  if (via === 'ambiguous') throw ambiguousCredential();
  if (via === 'cookie' && origin === undefined) {
    throw new AppError('ORIGIN_NOT_ALLOWED', { detail: 'A session cookie requires an Origin header.' });
  }
  return { via, tokens, origin, host };
};

const MAX_PRINTED_LENGTH = 255;

/** An origin in printable ASCII, for answers and logs. */
const printableOrigin = (origin: string): string =>
  origin.slice(0, MAX_PRINTED_LENGTH).replaceAll(/[^\x21-\x7e]/g, '?');

/** Pages can set no other header of an upgrade, so a ticket is sent as a subprotocol. It is never selected in the answer. */
const ticketOf = (offered: string | undefined): string | undefined =>
  offered
    ?.split(',')
    .map((one) => one.trim())
    .find((one) => one.startsWith(TICKET_PREFIX))
    ?.slice(TICKET_PREFIX.length);

const TICKET_PREFIX = 'ticket.';

const KEY = /^[+/0-9A-Za-z]{22}==$/;

/** Rejects a request that is not a WebSocket handshake (RFC 6455 §4.2.1). Throws {@link AppError}. */
export const requireWebSocket = (method: string | undefined, headers: IncomingHttpHeaders): void => {
  const key = headers['sec-websocket-key'];
  const isHandshake =
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    key !== undefined &&
    KEY.test(key);
  if (!isHandshake) throw new AppError('MALFORMED_REQUEST', { detail: 'Expected a WebSocket handshake (RFC 6455).' });
};
