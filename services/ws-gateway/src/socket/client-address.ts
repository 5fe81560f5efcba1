import { BlockList, isIP, isIPv4 } from 'node:net';

/** Reads which address a request came from. */
export type AddressReader = (request: {
  readonly remote: string | undefined;
  readonly forwardedFor: string | readonly string[] | undefined;
}) => string;

/** Networks in configuration: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`. */
const NETWORK = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/;
const MAPPED = /^::ffff:(?=\d+\.)/i;
const IPV6_GROUPS = 8;
/** One household or server usually owns a /64. */
const BUCKET_GROUPS = 4;

/** Whether this names an address or a network. */
export const isNetwork = (text: string): boolean => {
  const [, address = '', bits] = NETWORK.exec(text) ?? [];
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return most >= 0 && Number(bits ?? 0) <= most;
};

/**
 * The name under which connections of one origin are counted: an IPv4 address, or the /64 of an IPv6 one. What a proxy
 * says in `X-Forwarded-For` counts as far as the chain of trusted proxies goes, from the right.
 */
export const createAddressReader = (trusted: readonly string[]): AddressReader => {
  const proxies = new BlockList();
  for (const one of trusted) {
    const [, address = '', bits] = NETWORK.exec(one) ?? [];
    const family = isIPv4(address) ? 'ipv4' : 'ipv6';
    if (isNetwork(one)) proxies.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family);
  }
  const isTrusted = (address: string): boolean =>
    isIP(address) !== 0 && proxies.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');

  return ({ remote, forwardedFor }) => {
    const told = (Array.isArray(forwardedFor) ? forwardedFor.join(',') : ((forwardedFor as string) ?? ''))
      .split(',')
      .map((text) => plain(text.trim()))
      .filter((text) => isIP(text) !== 0);
    let address = plain(remote ?? '');
    while (told.length > 0 && isTrusted(address)) address = told.pop() ?? address;
    return bucketOf(address);
  };
};

/** An IPv4 address that came over an IPv6 socket is still one. */
const plain = (address: string): string => address.replace(MAPPED, '');

const bucketOf = (address: string): string => {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = (address.split('%')[0] ?? '').toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, IPV6_GROUPS - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  const bucket = groups.slice(0, BUCKET_GROUPS).map((group) => group.replace(/^0+(?=.)/, ''));
  return `${bucket.join(':')}::/64`;
};
