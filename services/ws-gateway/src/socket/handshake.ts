import type { IncomingHttpHeaders } from 'node:http';
import { AppError } from '@muster/protocol/errors';
import { readCredential } from '@muster/session/credential';

/** What an upgrade request shows. */
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
 * Origin and credential of an upgrade. A page's `Origin` must be one of ours, whatever else it brings; a cookie
 * without `Origin` is refused, because a browser always sends one. A ticket goes before everything else. Throws {@link AppError}.
 */
export const readHandshake = (headers: IncomingHttpHeaders, rules: HandshakeRules): Handshake => {
  const { origin, host } = headers;
  if (origin !== undefined && !rules.allowedOrigins.includes(origin)) {
    throw new AppError('ORIGIN_NOT_ALLOWED', {
      detail: `Pages of the origin ${shown(origin)} may not open sockets here: it is not in ALLOWED_ORIGINS.`,
    });
  }
  const ticket = ticketOf(headers['sec-websocket-protocol']);
  if (ticket !== undefined) return { via: 'ticket', tokens: [ticket], origin, host };
  const credential = readCredential(
    { cookieHeader: headers.cookie, authorization: headers.authorization },
    rules.cookieName,
  );
  switch (credential.is) {
    case 'none':
      return { via: 'none', tokens: [], origin, host };
    case 'bearer':
      return { via: 'bearer', tokens: [credential.token], origin, host };
    case 'cookie':
      if (origin === undefined) {
        throw new AppError('ORIGIN_NOT_ALLOWED', { detail: 'A session cookie counts only with an Origin.' });
      }
      return { via: 'cookie', tokens: credential.tokens, origin, host };
    case 'ambiguous':
      throw new AppError('MALFORMED_REQUEST', {
        detail: 'The cookie and the bearer token are of different sessions.',
      });
    default:
      return credential satisfies never;
  }
};

const LONGEST_SHOWN = 255;

/** An origin as it may stand in an answer and in a log. */
export const shown = (origin: string): string =>
  origin.slice(0, LONGEST_SHOWN).replaceAll(/[^\x21-\x7e]/g, '?');

/** Browsers let a page set no header but this one, so a ticket travels among the subprotocols; it is never answered. */
const ticketOf = (offered: string | undefined): string | undefined =>
  offered
    ?.split(',')
    .map((one) => one.trim())
    .find((one) => one.startsWith(TICKET_PREFIX))
    ?.slice(TICKET_PREFIX.length);

const TICKET_PREFIX = 'ticket.';

const KEY = /^[+/0-9A-Za-z]{22}==$/;

/** Refuses what is not a WebSocket handshake (RFC 6455 §4.2.1). Throws {@link AppError}. */
export const requireWebSocket = (method: string | undefined, headers: IncomingHttpHeaders): void => {
  const key = headers['sec-websocket-key'];
  const isHandshake =
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    key !== undefined &&
    KEY.test(key);
  if (!isHandshake) throw new AppError('MALFORMED_REQUEST', { detail: 'This is not a WebSocket handshake.' });
};
