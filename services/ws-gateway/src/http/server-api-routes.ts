import { requestIdOf } from '@muster/http/app';
import { docsRoutes } from '@muster/http/docs';
import { AppError } from '@muster/protocol/errors';
import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import { requireKey, tenantOfKey } from '../auth/server-api-keys.ts';
import { errorJson } from '../core/api/api-errors.ts';
import type { ApiCallOptions } from '../core/api/params.ts';
import type { ServerApi } from '../core/api/server-api.ts';
import { apiOperations } from './api-document.ts';
import type { ServerApiCalls } from './server-api-calls.ts';

export interface ServerApiDeps {
  readonly calls: ServerApiCalls;
  readonly maxBodyBytes: number;
  readonly version: string;
}

/** Mounts `POST /api/<method>`, the line-by-line `POST /api`, and the documents. */
export const mountServerApi = (app: Express, { calls, maxBodyBytes, version }: ServerApiDeps): void => {
  const handle = async (req: Request, res: Response): Promise<void> => {
    const method = String(req.params['method']);
    const text = typeof req.body === 'string' ? req.body : '';
    const caller = { requestId: requestIdOf(res), tenant: tenantOfKey(res), headers: req.headers };
    const { status, type, body } = await calls.perform(method, text, caller);
    res.status(status).type(type).send(body);
  };
  const info = {
    title: 'Muster server API',
    version,
    description: 'For back ends: publish to groups, inspect groups and connections, and control connections.',
  };
  app.use('/api', docsRoutes(info, apiOperations));
  const body = express.text({ limit: maxBodyBytes, type: () => true });
  const key = requireKey(calls.checkKey, (res) => calls.reject(requestIdOf(res), 'server_key'));
  app.post('/api/:method', key, body, handle);
  app.post('/api', key, body, createLegacyApi(calls));
  app.all(['/api', '/api/:method'], (_req, res) => {
    res.setHeader('Allow', 'POST');
    throw new AppError('METHOD_NOT_ALLOWED', { detail: 'Use POST.' });
  });
};

const MAX_LINES = 1_000;

interface Line {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: unknown;
}

/**
 * Handles `POST /api` of older Centrifugo libraries: one `{"id"?,"method","params"}` per line, answered by one `{"id"?,"result"}`
 * or `{"id"?,"error"}` per line, in order. At most 1000 lines.
 */
const createLegacyApi =
  ({ api, observerOf, reject }: ServerApiCalls): RequestHandler =>
  async (req, res) => {
    const lines = String(req.body ?? '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map(parseLine);
    if (lines.length === 0 || lines.length > MAX_LINES || lines.includes(undefined)) {
      reject(requestIdOf(res), 'malformed');
      res
        .status(400)
        .type('text/plain')
        .send(`Body: expected 1 to ${MAX_LINES} lines, each a JSON object with a method.`);
      return;
    }
    const answers: string[] = [];
    const options = { tenant: tenantOfKey(res), observe: observerOf(requestIdOf(res)), budget: api.newBudget() };
    for (const line of lines) if (line) answers.push(await answerLine(api, line, options));
    res.type('application/json').send(answers.join('\n'));
  };

const answerLine = async (api: ServerApi, { id, method, params }: Line, options: ApiCallOptions): Promise<string> => {
  // A batch is not supported in a line.
  const name = typeof method === 'string' && method !== 'batch' ? method : '';
  const outcome = await api.call(name, params ?? {}, options);
  const head = id === undefined ? '' : `"id":${JSON.stringify(id)},`;
  return outcome.ok ? `{${head}"result":${outcome.json}}` : `{${head}"error":${errorJson(outcome)}}`;
};

const parseLine = (line: string): Line | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
};
