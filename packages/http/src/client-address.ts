import { BlockList, isIP, isIPv4 } from 'node:net';
import { field } from '@muster/kit/config-fields';

/** Reads the client address of a request; empty after the socket was closed. */
export type AddressReader = (request: {
  readonly remote: string | undefined;
  readonly forwardedFor: string | readonly string[] | undefined;
}) => string;

/** Address or network: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`. */
const NETWORK = /^([0-9a-fA-F.:]{2,45})(?:\/(\d{1,3}))?$/;
const MAPPED = /^::ffff:(?=\d+\.)/i;
/** `[v6]`, `[v6]:port` and `v4:port`, as some proxies write addresses. */
const WITH_PORT = /^(?:\[([^[\]]{2,64})\]|([\d.]{7,15}))(?::(\d{1,5}))?$/;
const MAX_PORT = 65_535;
const MAX_ENTRY_LENGTH = 80;
const UNREADABLE = '-';
const IPV6_GROUPS = 8;
/** A household or server usually has a /64. */
const BUCKET_GROUPS = 4;

/** A setting: comma-separated addresses and networks of trusted proxies. */
export const networks = () =>
  field.list().refine((entries) => entries.every(isNetwork), 'expected addresses or networks such as 10.0.0.0/8');

/** True for an address or a network. */
export const isNetwork = (text: string): boolean => {
  const [, address = '', bits] = NETWORK.exec(text) ?? [];
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return most >= 0 && Number(bits ?? 0) <= most;
};

/**
 * Client address from `X-Forwarded-For`, read from the right as far as the chain of trusted proxies goes. Ports, brackets, quotes and
 * zones are removed. An entry that is not an address ends the chain: entries before it may be forged by the client.
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

  return ({ remote, forwardedFor = '' }) => {
    let address = plain(remote ?? '');
    if (trusted.length === 0 || !isTrusted(address)) return address;
    const entries = (typeof forwardedFor === 'string' ? forwardedFor : forwardedFor.join(','))
      .split(',')
      .map(addressIn)
      .filter((text) => text !== '');
    while (isTrusted(address)) {
      const before = entries.pop() ?? '';
      if (isIP(before) === 0) break;
      address = before;
    }
    return address;
  };
};

/** Key for limits per address: an IPv4 address, or the /64 of an IPv6 address. */
export const addressBucket = (address: string): string => {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, IPV6_GROUPS - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  const bucket = groups.slice(0, BUCKET_GROUPS).map((group) => group.replace(/^0+(?=.)/, ''));
  return `${bucket.join(':')}::/64`;
};

/**
 * Address of an entry of `X-Forwarded-For`: `v4`, `v4:port`, `v6`, `[v6]` or `[v6]:port`, quoted or not, with a
 * port up to 65535. Everything else is {@link UNREADABLE}; an empty entry is ''.
 */
const addressIn = (entry: string): string => {
  const text = unquoted(entry.trim());
  if (text === '') return '';
  if (text.length > MAX_ENTRY_LENGTH) return UNREADABLE;
  const [, bracketed, dotted, port = '0'] = WITH_PORT.exec(text) ?? [];
  const address = bracketed ?? dotted ?? text;
  const family = isIP(address);
  const isAddress = family !== 0 && (bracketed === undefined || family === 6);
  return isAddress && Number(port) <= MAX_PORT ? plain(address) : UNREADABLE;
};

const unquoted = (text: string): string => /^"([^"]*)"$/.exec(text)?.[1]?.trim() ?? text;

/** Maps an IPv4-mapped IPv6 address to IPv4 and removes the zone. */
const plain = (address: string): string => (address.split('%')[0] ?? '').replace(MAPPED, '');
