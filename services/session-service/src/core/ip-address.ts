import ipaddr from 'ipaddr.js';

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$/;
const IPV4_BITS = 24;
const IPV6_BITS = 48;
/** A household or a server usually has one /64. */
const IPV6_BUCKET_BITS = 64;

/** The network (/24, /48) of an address, the form stored by default; null for other text. */
export const shortenIp = (text: string | undefined): string | null => networkOf(text, IPV4_BITS, IPV6_BITS);

/** The rate limit key of a caller: the IPv4 address or the IPv6 /64. */
export const rateKeyOf = (text: string | undefined): string => networkOf(text, 32, IPV6_BUCKET_BITS) ?? 'unknown';

/** The rate limit key of a network: the IPv4 /24 or the IPv6 /48, a usual assignment to one customer. */
export const networkKeyOf = (text: string | undefined): string => shortenIp(text) ?? 'unknown';

/** Length of the longest notation: IPv6 with an embedded IPv4 address. */
const MAX_IP_LENGTH = 45;

/** True for an IPv4 or IPv6 address in standard notation. The first test is the usual case, without an exception inside. */
export const isIp = (text: string): boolean =>
  text.length <= MAX_IP_LENGTH &&
  (IPV4.test(text) || ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text));

/** The network of an address with these prefix lengths; null for other text. */
export const networkOf = (text: string | undefined, v4Bits: number, v6Bits: number): string | null => {
  if (text === undefined) return null;
  if (IPV4.test(text) && v4Bits % 8 === 0) return ipv4NetworkOf(text, v4Bits);
  if (!isIp(text)) return null;
  const address = ipaddr.process(text);
  const bits = address.kind() === 'ipv4' ? v4Bits : v6Bits;
  const cidr = `${address.toNormalizedString()}/${bits}`;
  return address.kind() === 'ipv4'
    ? `${ipaddr.IPv4.networkAddressFromCIDR(cidr).toString()}/${bits}`
    : `${ipaddr.IPv6.networkAddressFromCIDR(cidr).toString()}/${bits}`;
};

/** For prefixes of whole bytes. */
const ipv4NetworkOf = (address: string, bits: number): string => {
  const kept = address.split('.').slice(0, bits / 8);
  return `${[...kept, '0', '0', '0', '0'].slice(0, 4).join('.')}/${bits}`;
};
