import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';

export interface ServerApiKey {
  readonly key: string;
  /** The only tenant that it is valid for; undefined: all. */
  readonly tenant: string | undefined;
}

/** The reach of a valid key. */
interface Permit {
  readonly tenant: string | undefined;
}

/** Finds the key that was presented; undefined for none or an invalid one. */
export type KeyCheck = (headers: IncomingHttpHeaders, inQuery?: unknown) => Permit | undefined;

/** Checks `X-API-Key`, `Authorization: apikey …` or `?api_key=`. Compared by digest, in constant time. */
export const createKeyCheck = (keys: () => readonly ServerApiKey[]): KeyCheck => {
  let known: readonly ServerApiKey[] = [];
  let digests: readonly { readonly digest: Buffer; readonly permit: Permit }[] = [];
  return (headers, inQuery) => {
    if (keys() !== known) {
      known = keys();
      digests = known.map(({ key, tenant }) => ({ digest: digest(key), permit: { tenant } }));
    }
    const given = digest(keyIn(headers, inQuery));
    const [found] = digests.filter((one) => timingSafeEqual(one.digest, given));
    return found?.permit;
  };
};

/** Requires a key, else answers 401 without a body. */
export const requireKey =
  (check: KeyCheck, onInvalid: (res: Response) => void): RequestHandler =>
  (req: Request, res, next) => {
    const permit = check(req.headers, req.query['api_key']);
    if (permit === undefined) {
      onInvalid(res);
      res.status(401).end();
      return;
    }
    res.locals['tenant'] = permit.tenant;
    next();
  };

/** The only tenant that the key of a request is valid for; undefined: all. */
export const tenantOfKey = ({ locals }: Response): string | undefined => locals['tenant'] as string | undefined;

const keyIn = (headers: IncomingHttpHeaders, inQuery: unknown): string => {
  const header = headers['x-api-key'];
  if (typeof header === 'string') return header;
  const authorization = /^apikey +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  return authorization ?? (typeof inQuery === 'string' ? inQuery : '');
};

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');
