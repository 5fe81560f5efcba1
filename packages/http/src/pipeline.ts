import { AppError } from '@muster/protocol/errors';
import express, { type Request, type RequestHandler, type Response } from 'express';
import { z } from 'zod';
import type { Input, Route, RouteReply } from './route.ts';
import { ValidationFailure, validate } from './validation.ts';

/** Built once: zod compiles a schema when it is used for the first time. */
const ANYTHING = z.looseObject({});

/** The Express handler of a route: guard, body, validation, handler, answer. Errors reach the error handler of the app. */
export const pipeline = (route: Route, bodyLimitBytes: number): RequestHandler => {
  const readBody = bodyReader(route.forms, bodyLimitBytes);
  const { params = ANYTHING, query = ANYTHING } = route;
  return async (req, res) => {
    const auth = await route.guard?.(req, res);
    res.locals['principal'] = principalOf(auth);
    const body = route.body === undefined ? undefined : await readBody(req, res);
    const input = collectFailures({
      params: () => validate(params, 'path', req.params),
      query: () => validate(query, 'query', req.query),
      body: () => (route.body === undefined ? undefined : validate(route.body, 'body', body)),
    });
    write(res, await route.handle({ ...input, auth, req, res } as Input<never, never, never, never>));
  };
};

/** Session and user of an authenticated request, for the log of refusals. */
const principalOf = (auth: unknown): object => {
  const { session } = (auth ?? {}) as { session?: { id?: unknown; userId?: unknown } };
  return typeof session?.id === 'string' ? { session: session.id, user: session.userId } : {};
};

type BodyReader = (req: Request, res: Response) => Promise<unknown>;

/** Reads the encodings that a route accepts; any other is a 415. */
const bodyReader = (forms: Route['forms'], limit: number): BodyReader => {
  const readJson = express.json({ limit, strict: false, type: 'application/json' });
  const readText = express.text({ limit, type: FORM });
  const expected = { none: JSON_TYPE, also: `${JSON_TYPE} or ${FORM}`, only: FORM }[forms ?? 'none'];
  return async (req, res) => {
    const type = req.headers['content-type'];
    if (forms !== undefined && isForm(type)) return formOf(await reading(readText, req, res));
    if (!isEmpty(req) && (forms === 'only' || !isJson(type))) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', { detail: `Send the body as ${expected}.` });
    }
    return reading(readJson, req, res);
  };
};

const JSON_TYPE = 'application/json';
const FORM = 'application/x-www-form-urlencoded';

const isEmpty = ({ headers }: Request): boolean =>
  headers['content-length'] === '0' || (!headers['content-length'] && !headers['transfer-encoding']);

const reading = async (read: RequestHandler, req: Request, res: Response): Promise<unknown> => {
  await new Promise<void>((resolve, reject) => {
    Promise.resolve(read(req, res, (error?: unknown) => (error ? reject(error) : resolve()))).catch(reject);
  });
  return req.body;
};

/** `application/json`, with no charset or UTF-8. A page of another site cannot send it without a CORS preflight. */
const isJson = (contentType: string | undefined): boolean =>
  /^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(bounded(contentType));

const isForm = (contentType: string | undefined): boolean =>
  /^application\/x-www-form-urlencoded\s*(;\s*charset="?utf-8"?\s*)?$/i.test(bounded(contentType));

const MAX_CONTENT_TYPE_LENGTH = 256;

/** A longer header is not one of the accepted types. */
const bounded = (contentType = ''): string => (contentType.length > MAX_CONTENT_TYPE_LENGTH ? '' : contentType);

/** A repeated parameter is a list, which no string schema accepts (RFC 6749 §3.1 forbids it). */
const formOf = (text: unknown): Record<string, string | string[]> => {
  const found = Map.groupBy(new URLSearchParams(typeof text === 'string' ? text : ''), ([name]) => name);
  return Object.fromEntries(
    [...found].map(([name, pairs]) => {
      const values = pairs.map(([, value]) => value);
      return [name, values.length === 1 ? (values[0] ?? '') : values];
    }),
  );
};

/** Runs every parser, so that the response has all failures of path, query and body. */
const collectFailures = <T extends Record<string, () => unknown>>(parsers: T): { [K in keyof T]: ReturnType<T[K]> } => {
  const failures: ValidationFailure[] = [];
  const values = Object.entries(parsers).map(([name, parse]) => {
    try {
      return [name, parse()];
    } catch (error) {
      if (!(error instanceof ValidationFailure)) throw error;
      failures.push(error);
      return [name, undefined];
    }
  });
  if (failures.length > 0) throw new ValidationFailure(failures.flatMap((one) => one.failures));
  return Object.fromEntries(values);
};

const write = (res: Response, reply: RouteReply): void => {
  res.status(reply.status);
  for (const [name, value] of Object.entries(reply.headers ?? {})) {
    res.setHeader(name, typeof value === 'string' ? value : [...value]);
  }
  if (reply.text !== undefined) res.end(reply.text);
  else if (reply.body === undefined) res.end();
  else res.json(reply.body);
};
