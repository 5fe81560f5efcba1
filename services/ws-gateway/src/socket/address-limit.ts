import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { addressBucket, createAddressReader } from '@muster/http/client-address';
import { AppError } from '@muster/protocol/errors';

export interface AddressLimitDeps {
  readonly limits: {
    /** Sockets of one address; 0 for no limit. */
    readonly maxConnectionsPerIp: number;
    readonly trustedProxies: readonly string[];
  };
  onAddressLimitReached(address: string): void;
}

/** Enforces `MAX_CONNECTIONS_PER_IP`: counts sockets by client address, from the upgrade to the close of the socket. */
export const createAddressLimit = (deps: AddressLimitDeps) => {
  const { maxConnectionsPerIp: max, trustedProxies } = deps.limits;
  const addressOf = createAddressReader(trustedProxies);
  const counts = new Map<string, number>();
  return {
    /** Counts a socket and returns its client address. Throws an {@link AppError} `RATE_LIMITED` at the limit. */
    add: (request: IncomingMessage, stream: Duplex): string => {
      const { remoteAddress: remote } = request.socket;
      const forwardedFor = request.headers['x-forwarded-for'];
      const address = addressBucket(addressOf({ remote, forwardedFor }));
      if (max === 0) return address;
      const count = counts.get(address) ?? 0;
      if (count >= max) {
        deps.onAddressLimitReached(address);
        throw limitReached('This address has reached its limit of connections.');
      }
      counts.set(address, count + 1);
      stream.once('close', () => {
        const left = (counts.get(address) ?? 1) - 1;
        if (left === 0) counts.delete(address);
        else counts.set(address, left);
      });
      return address;
    },
  };
};

/** Seconds after which a rejected upgrade is worth another attempt, where nothing better is known. */
export const RETRY_AFTER_S = 2;

/** 429 for an upgrade above a limit. */
export const limitReached = (detail: string): AppError =>
  new AppError('RATE_LIMITED', { detail, retryAfterS: RETRY_AFTER_S });
