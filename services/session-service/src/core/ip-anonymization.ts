import ipaddr from 'ipaddr.js';
import { isIp, networkOf, rateKeyOf, shortenIp } from './ip-address.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** How much of an address is stored. */
export const IP_MODES = ['truncated', 'full', 'hashed', 'none'] as const;
export type IpMode = (typeof IP_MODES)[number];

/** The form in which addresses of users are stored. */
export type IpAnonymizer = ReturnType<typeof createIpAnonymizer>;

/** ORCHIDv2 (RFC 7343): hashes in the form of IPv6 addresses that are not routable. */
const ORCHID = ipaddr.IPv6.parse('2001:20::');
const ORCHID_BITS = 28;
const BYTES = 16;

/** Anonymizes addresses by the mode. Pseudonyms are MACs under a sub-key of the first signing key. */
export const createIpAnonymizer = (mode: IpMode, keys: Pick<DerivedKeys, 'mac' | 'macs'>) => {
  /** The stored form of an address, or of the stored form of a less strict mode; null when nothing is stored. */
  const anonymize = (text: string | null | undefined): string | null => {
    const [address = '', bits] = text?.split('/') ?? [];
    if (mode === 'none' || !isIp(address)) return null;
    if (mode === 'full') return bits === undefined ? networkOf(address, 32, 128) : `${address}/${bits}`;
    if (isPseudonym(address)) return `${address}/128`;
    return mode === 'truncated' ? shortenIp(address) : toAddress(keys.mac('ip', rateKeyOf(address)));
  };
  return {
    mode,
    anonymize,
    /** Every form under which a single address may be stored; undefined for other text, such as a network. */
    storedForms: (text: string): readonly string[] | undefined => {
      if (!isIp(text)) return undefined;
      if (mode === 'hashed' && !isPseudonym(text)) return keys.macs('ip', rateKeyOf(text)).map(toAddress);
      // Rows that an earlier, stricter mode wrote are not rewritten.
      const forms = [anonymize(text), mode === 'full' ? shortenIp(text) : null];
      return forms.filter((form) => form !== null);
    },
  };
};

const isPseudonym = (address: string): boolean => {
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' && (parsed as ipaddr.IPv6).match(ORCHID, ORCHID_BITS);
};

/** An IPv6 address of the ORCHID prefix, 28 bits, and 100 bits of the MAC. */
const toAddress = (mac: Buffer): string => {
  const bytes = [...mac.subarray(0, BYTES)];
  const [a = 0, b = 0, c = 0, d = 0] = ORCHID.toByteArray();
  bytes.splice(0, 4, a, b, c, d | ((bytes[3] ?? 0) & 0x0f));
  return `${ipaddr.fromByteArray(bytes).toString()}/128`;
};
