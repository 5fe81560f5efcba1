import { createHash } from 'node:crypto';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Random } from '@muster/kit/runtime';
import { parseSessionId, type SessionId } from './token.ts';

/** What a ticket stands for. */
export interface TicketHolder {
  readonly id: SessionId;
  /** SHA-256 of the session's secret when the ticket was made, base64url: a newer secret makes it worthless. */
  readonly secretHash: string;
  /** The only origin it is good for; null for clients that send none. */
  readonly origin: string | null;
}

/** Tickets for the handshake of a socket: good for 30 s and one use. */
export interface TicketStore {
  issue(holder: TicketHolder): Promise<string>;
  /** Takes the ticket; undefined for one that was used, is too old, was guessed, or is for another origin. */
  redeem(ticket: string, origin: string | undefined): Promise<TicketHolder | undefined>;
}

/** Life of a ticket in seconds. */
export const TICKET_LIFE_S = 30;

const TICKET = /^t_[A-Za-z0-9_-]{43}$/;
const TICKET_BYTES = 32;

/** True for what looks like a ticket; a session token never does. */
export const isTicket = (text: string): boolean => TICKET.test(text);

/** Tickets under `<prefix>t:{<hash>}`; Redis never holds one that could be used. */
export const createTicketStore = ({
  redis,
  random,
}: {
  redis: RedisConnections;
  random: Random;
}): TicketStore => {
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
      // Never retried: a ticket whose answer was lost is used up.
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
