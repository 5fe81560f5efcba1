import ipaddr from 'ipaddr.js';

const IPV4_BITS = 24;
const IPV6_BITS = 48;
/** One household or server usually owns a /64. */
const IPV6_BUCKET_BITS = 64;

/** An address shortened to its network (/24, /48), as it is stored by default; null for anything that is no address. */
export const shortenIp = (text: string | undefined): string | null => networkOf(text, IPV4_BITS, IPV6_BITS);

/** Under which name a caller's requests are counted: the IPv4 address, or the IPv6 /64. */
export const rateKeyOf = (text: string | undefined): string =>
  networkOf(text, 32, IPV6_BUCKET_BITS) ?? 'unknown';

/** The network above {@link rateKeyOf}: an IPv4 /24 or an IPv6 /48, which one customer of a provider may own whole. */
export const networkKeyOf = (text: string | undefined): string => shortenIp(text) ?? 'unknown';

/** Longest spelling of an address: IPv6 that ends in IPv4. */
const MAX_IP_LENGTH = 45;

/** True for an IPv4 or IPv6 address in its usual spelling. */
export const isIp = (text: string): boolean =>
  text.length <= MAX_IP_LENGTH && (ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text));

/** The network of an address with that many bits; null for anything that is no address. */
export const networkOf = (text: string | undefined, v4Bits: number, v6Bits: number): string | null => {
  if (text === undefined || !isIp(text)) return null;
  const address = ipaddr.process(text);
  const bits = address.kind() === 'ipv4' ? v4Bits : v6Bits;
  const cidr = `${address.toNormalizedString()}/${bits}`;
  return address.kind() === 'ipv4'
    ? `${ipaddr.IPv4.networkAddressFromCIDR(cidr).toString()}/${bits}`
    : `${ipaddr.IPv6.networkAddressFromCIDR(cidr).toString()}/${bits}`;
};
