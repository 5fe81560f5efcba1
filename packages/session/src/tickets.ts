import { createHash } from 'node:crypto';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Random } from '@muster/kit/runtime';
import { parseSessionId, type SessionId } from './token.ts';

/** Session of a ticket. */
export interface TicketHolder {
  readonly id: SessionId;
  /** SHA-256 of the session's secret when the ticket was issued, base64url; a newer secret invalidates the ticket. */
  readonly secretHash: string;
  /** Origin that may redeem it; null for a client without `Origin`. */
  readonly origin: string | null;
}

/** Tickets for WebSocket handshakes, valid for 30 s and one use. */
export interface TicketStore {
  issue(holder: TicketHolder): Promise<string>;
  /** Consumes a ticket; undefined if it was used, has expired, does not exist, or is for another origin. */
  redeem(ticket: string, origin: string | undefined): Promise<TicketHolder | undefined>;
}

/** Lifetime of a ticket in seconds. */
export const TICKET_LIFE_S = 30;

const TICKET = /^t_[A-Za-z0-9_-]{43}$/;
const TICKET_BYTES = 32;

/** True for text in the form of a ticket; session tokens never have it. */
export const isTicket = (text: string): boolean => TICKET.test(text);

/** Tickets in Redis under `<prefix>t:{<hash>}`; Redis stores hashes only. */
export const createTicketStore = ({ redis, random }: { redis: RedisConnections; random: Random }): TicketStore => {
  const keyOf = (ticket: string): string =>
    `${redis.prefix}t:{${createHash('sha256').update(ticket).digest('base64url')}}`;
  return {
    issue: async (holder) => {
      const ticket = `t_${Buffer.from(random.bytes(TICKET_BYTES)).toString('base64url')}`;
      const value = JSON.stringify(holder);
      await redis.retry((lane) => lane.set(keyOf(ticket), value, 'EX', TICKET_LIFE_S));
      return ticket;
    },
    redeem: async (ticket, origin) => {
      if (!isTicket(ticket)) return undefined;
      // Not retried: a ticket whose response was lost is consumed.
      const holder = parseHolder(await redis.lane().getdel(keyOf(ticket)));
      const isForOrigin = holder?.origin === (origin ?? null);
      return isForOrigin ? holder : undefined;
    },
  };
};

const parseHolder = (value: string | null): TicketHolder | undefined => {
  if (value === null) return undefined;
  const { id, secretHash, origin } = JSON.parse(value) as Record<string, unknown>;
  const known = typeof id === 'string' ? parseSessionId(id) : undefined;
  if (known === undefined || typeof secretHash !== 'string') return undefined;
  return { id: known, secretHash, origin: typeof origin === 'string' ? origin : null };
};
