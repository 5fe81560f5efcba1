/** A server of several. */
export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

/** Credentials and transport. */
interface Account {
  readonly username?: string;
  readonly password?: string;
  readonly isTls: boolean;
}

/** A parsed REDIS_URL: one server, a primary behind sentinels, or a cluster by some of its nodes. */
export type RedisAddress =
  | (Account & RedisNode & { readonly is: 'single'; readonly db: number })
  | (Account & {
      readonly is: 'sentinel';
      readonly sentinels: readonly RedisNode[];
      /** The name under which the sentinels monitor the primary. */
      readonly primary: string;
      readonly db: number;
    })
  | (Account & { readonly is: 'cluster'; readonly nodes: readonly RedisNode[] });

/** Forms that {@link parseRedisUrl} accepts, for messages. */
export const REDIS_URL_FORMS =
  '`redis://[[user]:password@]host[:6379][/db]`, `redis+sentinel://[[user]:password@]host[:26379],host…/primary[/db]` ' +
  'or `redis+cluster://[[user]:password@]host[:6379],host…`; `rediss…` for TLS';

const SINGLE = /^(rediss?):\/\/(?:([^/?#]*)@)?([^@/?#,]+)(?:\/(\d{0,4}))?(?:\?db=(\d{1,4}))?$/;
const SEVERAL = /^(rediss?)\+(sentinel|cluster):\/\/(?:([^@/]*)@)?([^@/?#]+)((?:\/[^/?#]*)*)$/;
const PORTS = { single: 6_379, sentinel: 26_379, cluster: 6_379 };

/** Parses a REDIS_URL; undefined if it is invalid. Several servers are comma-separated. */
export const parseRedisUrl = (text: string): RedisAddress | undefined => {
  if (/^rediss?:\/\//.test(text)) return parseSingle(text);
  const [, scheme, form, credentials, hosts = '', path = ''] = SEVERAL.exec(text) ?? [];
  if (form !== 'sentinel' && form !== 'cluster') return undefined;
  const account = parseAccount(credentials, scheme === 'rediss');
  const nodes = hosts.split(',').map((each) => parseNode(each, PORTS[form]));
  if (account === undefined || !nodes.every((each) => each !== undefined)) return undefined;
  const [primary = '', db = '0', ...rest] = path.split('/').filter((part) => part !== '');
  if (form === 'cluster') return primary === '' ? { is: 'cluster', nodes, ...account } : undefined;
  if (primary === '' || !/^\d{1,4}$/.test(db) || rest.length > 0) return undefined;
  const name = decode(primary);
  if (name === undefined) return undefined;
  return { is: 'sentinel', sentinels: nodes, primary: name, db: Number(db), ...account };
};

/** A single server. The database is a number in the path or the parameter `db`; anything else is refused, not read as database 0. */
const parseSingle = (text: string): RedisAddress | undefined => {
  const [, scheme, credentials, host = '', path = '', query = ''] = SINGLE.exec(text) ?? [];
  const node = parseNode(host, PORTS.single);
  const account = parseAccount(credentials, scheme === 'rediss');
  if (node === undefined || account === undefined || (path !== '' && query !== '')) return undefined;
  return { is: 'single', ...node, db: Number(path || query || 0), ...account };
};

const parseNode = (text: string, fallbackPort: number): RedisNode | undefined => {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = port === undefined ? fallbackPort : Number(port);
  return host === undefined || number < 1 || number > 65_535 ? undefined : { host, port: number };
};

const parseAccount = (text: string | undefined, isTls: boolean): Account | undefined => {
  if (text === undefined) return { isTls };
  const colon = text.indexOf(':');
  const username = decode(colon < 0 ? text : text.slice(0, colon));
  const password = decode(colon < 0 ? '' : text.slice(colon + 1));
  if (username === undefined || password === undefined) return undefined;
  return { isTls, ...(username === '' ? {} : { username }), ...(password === '' ? {} : { password }) };
};

/** Percent-decoded text; undefined if the encoding is invalid. */
const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};
