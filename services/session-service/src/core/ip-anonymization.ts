import ipaddr from 'ipaddr.js';
import { isIp, networkOf, rateKeyOf, shortenIp } from './ip.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** How much of an address is kept. */
export const IP_MODES = ['truncated', 'full', 'hashed', 'none'] as const;
export type IpMode = (typeof IP_MODES)[number];

/** What is kept of the addresses of users. */
export interface IpAnonymizer {
  readonly mode: IpMode;
  /** What is stored of an address, and of what a less strict mode has stored; null for nothing. */
  anonymize(text: string | null | undefined): string | null;
  /** All spellings under which a single address may be stored; undefined for anything else, such as a network. */
  storedForms(text: string): readonly string[] | undefined;
}

/** ORCHIDv2 (RFC 7343): hashes in the form of IPv6 addresses, which no host can have. */
const ORCHID = ipaddr.IPv6.parse('2001:20::');
const ORCHID_BITS = 28;
const BYTES = 16;

/** Pseudonyms are keyed with a sub-key of the first signing key. */
export const createIpAnonymizer = (mode: IpMode, keys: Pick<DerivedKeys, 'mac' | 'macs'>): IpAnonymizer => {
  const stored = (text: string | null | undefined): string | null => {
    const [address = '', bits] = text?.split('/') ?? [];
    if (mode === 'none' || !isIp(address)) return null;
    if (mode === 'full') return bits === undefined ? networkOf(address, 32, 128) : `${address}/${bits}`;
    if (isPseudonym(address)) return `${address}/128`;
    return mode === 'truncated' ? shortenIp(address) : toAddress(keys.mac('ip', rateKeyOf(address)));
  };
  return {
    mode,
    anonymize: stored,
    storedForms: (text) => {
      if (!isIp(text)) return undefined;
      if (mode === 'hashed' && !isPseudonym(text)) return keys.macs('ip', rateKeyOf(text)).map(toAddress);
      // What an earlier, stricter setting stored stays as it is.
      const all = [stored(text), mode === 'full' ? shortenIp(text) : null];
      return all.filter((one) => one !== null);
    },
  };
};

const isPseudonym = (address: string): boolean => {
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' && (parsed as ipaddr.IPv6).match(ORCHID, ORCHID_BITS);
};

/** The prefix of 28 bits, and 100 bits of the MAC. */
const toAddress = (mac: Buffer): string => {
  const bytes = [...mac.subarray(0, BYTES)];
  const [a = 0, b = 0, c = 0, d = 0] = ORCHID.toByteArray();
  bytes.splice(0, 4, a, b, c, d | ((bytes[3] ?? 0) & 0x0f));
  return `${ipaddr.fromByteArray(bytes).toString()}/128`;
};
