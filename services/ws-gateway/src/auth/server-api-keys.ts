import { createHash, timingSafeEqual } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';

export interface ServerApiKey {
  readonly key: string;
  /** The only tenant that it is valid for; undefined: all. */
  readonly tenant: string | undefined;
}

/** Records a request that is rejected before any call, and sets its status. */
export type RejectRequest = (
  res: Response,
  refusal: { readonly status: number; readonly reason: 'server_key' | 'malformed' },
) => void;

/** Requires a key: `X-API-Key`, `Authorization: apikey …` or `?api_key=`. Compared by digest, in constant time. */
export const requireKey = (keys: () => readonly ServerApiKey[], reject: RejectRequest): RequestHandler => {
  let known: readonly ServerApiKey[] = [];
  let digests: readonly { readonly digest: Buffer; readonly tenant: string | undefined }[] = [];
  return (req, res, next) => {
    if (keys() !== known) {
      known = keys();
      digests = known.map(({ key, tenant }) => ({ digest: digest(key), tenant }));
    }
    const given = digest(keyIn(req));
    const [found] = digests.filter((one) => timingSafeEqual(one.digest, given));
    if (found === undefined) {
      reject(res, { status: 401, reason: 'server_key' });
      res.end();
      return;
    }
    res.locals['tenant'] = found.tenant;
    next();
  };
};

/** The only tenant that the key of a request is valid for; undefined: all. */
export const tenantOfKey = ({ locals }: Response): string | undefined => locals['tenant'] as string | undefined;

const keyIn = ({ headers, query }: Request): string => {
  const header = headers['x-api-key'];
  if (typeof header === 'string') return header;
  const authorization = /^apikey +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  const inQuery = query['api_key'];
  return authorization ?? (typeof inQuery === 'string' ? inQuery : '');
};

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
