import { AppError } from '@muster/protocol/errors';
import express, { type Request, type RequestHandler, type Response } from 'express';
import { z } from 'zod';
import type { Input, Reply, Route } from './route.ts';
import { ValidationFailure, validate } from './validation.ts';

const NOTHING = z.object({});

/** The Express handler of a route: guard, body, validation, handler, answer. Everything it throws reaches the error handler. */
export const pipeline = (route: Route, bodyLimitBytes: number): RequestHandler => {
  const readBody = express.json({ limit: bodyLimitBytes, strict: false, type: 'application/json' });
  const query = route.query ?? NOTHING.loose();
  return async (req, res) => {
    const auth = await route.guard?.(req, res);
    const body = route.body === undefined ? undefined : await jsonBody(req, res, readBody);
    const input = collectFailures({
      params: () => validate(route.params ?? NOTHING.loose(), 'path', req.params),
      query: () => validate(query, 'query', req.query),
      body: () => (route.body === undefined ? undefined : validate(route.body, 'body', body)),
    });
    write(res, await route.handle({ ...input, auth, req, res } as Input<never, never, never, never>));
  };
};

const jsonBody = async (req: Request, res: Response, read: RequestHandler): Promise<unknown> => {
  const isEmpty =
    req.headers['content-length'] === '0' ||
    (!req.headers['content-length'] && !req.headers['transfer-encoding']);
  if (!isEmpty && !isJson(req.headers['content-type'])) {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', { detail: 'Send the body as application/json.' });
  }
  await new Promise<void>((resolve, reject) => {
    Promise.resolve(read(req, res, (error?: unknown) => (error ? reject(error) : resolve()))).catch(reject);
  });
  return req.body;
};

/** `application/json`, with no charset or UTF-8. A page of another site cannot send it without asking first (CORS). */
const isJson = (contentType: string | undefined): boolean =>
  /^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(contentType ?? '');

/** Runs every parser, so that one answer names what is wrong in path, query and body together. */
const collectFailures = <T extends Record<string, () => unknown>>(
  parsers: T,
): { [K in keyof T]: ReturnType<T[K]> } => {
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

const write = (res: Response, reply: Reply): void => {
  res.status(reply.status);
  for (const [name, value] of Object.entries(reply.headers ?? {})) {
    res.setHeader(name, typeof value === 'string' ? value : [...value]);
  }
  if (reply.text !== undefined) res.end(reply.text);
  else if (reply.body === undefined) res.end();
  else res.json(reply.body);
};
