import { docsRoutes } from '@muster/http/docs';
import type { Metrics } from '@muster/kit/metrics';
import type { ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import express, { type Express, type Request, type Response } from 'express';
import type { ApiOutcome, ServerApi } from '../core/api/api.ts';
import { errorJson } from '../core/api/faults.ts';
import { apiOperations } from './api-document.ts';
import { createLegacyApi } from './legacy-api.ts';
import { requireKey, type ServerApiKey, tenantOfKey } from './server-api-keys.ts';

export interface ServerApiDeps {
  readonly api: ServerApi;
  /** Without keys nobody may call. Read anew for each call, so that keys can be replaced. */
  keys(): readonly ServerApiKey[];
  readonly metrics: Metrics;
  readonly maxBodyBytes: number;
  readonly version: string;
}

/** The status of an error for callers that ask for statuses (`X-Centrifugo-Error-Mode: transport`). */
const STATUS: Readonly<Partial<Record<ReplyError, number>>> = {
  100: 500,
  102: 404,
  103: 403,
  104: 404,
  106: 400,
  107: 400,
  108: 400,
  112: 416,
};

/**
 * `POST /api/<method>`. Errors of a call are answered with 200 and an error object, as the libraries of back ends expect
 * it; a wrong key is 401 without a body, a body that is not a JSON object 400.
 */
export const mountServerApi = (app: Express, deps: ServerApiDeps): void => {
  const calls = deps.metrics.counter('gateway_api_calls_total');
  const call: ServerApi['call'] = async (method, params, by) => {
    const outcome = await deps.api.call(method, params, by);
    const known = deps.api.methods.includes(method) ? method : 'unknown';
    calls.inc({
      method: known,
      result: outcome.ok ? 'ok' : outcome.told === undefined ? String(outcome.code) : 'application',
    });
    return outcome;
  };
  const handle = async (req: Request, res: Response): Promise<void> => {
    const method = String(req.params['method']);
    const text = typeof req.body === 'string' && req.body !== '' ? req.body : '{}';
    const params = parseObject(text);
    if (params === undefined) {
      res.status(400).type('text/plain').send('The body must be a JSON object.');
      return;
    }
    send(req, res, method, await call(method, params, { text, tenant: tenantOfKey(res) }));
  };
  const about = {
    title: 'Muster server API',
    version: deps.version,
    description: 'For back ends: publish to groups, look at them, and order connections about.',
  };
  app.use('/api', docsRoutes(about, apiOperations));
  const body = express.text({ limit: deps.maxBodyBytes, type: () => true });
  app.post('/api/:method', requireKey(deps.keys), body, handle);
  app.post('/api', requireKey(deps.keys), body, createLegacyApi(call));
  app.all(['/api', '/api/:method'], (_req, res) => {
    res.setHeader('Allow', 'POST');
    throw new AppError('METHOD_NOT_ALLOWED', { detail: 'This path answers POST.' });
  });
};

const send = (req: Request, res: Response, method: string, outcome: ApiOutcome): void => {
  res.type('application/json');
  if (outcome.ok) {
    // A batch has no `result` around its replies.
    res.send(method === 'batch' ? outcome.json : `{"result":${outcome.json}}`);
    return;
  }
  if (req.headers['x-centrifugo-error-mode'] !== 'transport') {
    res.send(`{"error":${errorJson(outcome)}}`);
    return;
  }
  res
    .status(outcome.told === undefined ? (outcome.status ?? STATUS[outcome.code as ReplyError] ?? 500) : 400)
    .send(errorJson(outcome));
};

const parseObject = (text: string): object | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
};
