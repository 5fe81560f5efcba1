import { requestIdOf } from '@muster/http/app';
import { docsRoutes } from '@muster/http/docs';
import type { Metrics } from '@muster/kit/metrics';
import { REPLY_ERRORS, type ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import express, { type Express, type Request, type Response } from 'express';
import type { RejectedCredentials } from '../auth/rejected-credentials.ts';
import { type RejectRequest, requireKey, type ServerApiKey, tenantOfKey } from '../auth/server-api-keys.ts';
import type { ApiOutcome } from '../core/api/api-errors.ts';
import { type ApiFault, errorJson } from '../core/api/api-errors.ts';
import type { ApiObserver } from '../core/api/params.ts';
import type { ServerApi } from '../core/api/server-api.ts';
import { apiOperations } from './api-document.ts';
import { createLegacyApi } from './legacy-api.ts';

export interface ServerApiDeps {
  readonly api: ServerApi;
  /** Without keys every call is rejected. Read for each call, so that keys can be rotated. */
  keys(): readonly ServerApiKey[];
  readonly metrics: Metrics;
  readonly maxBodyBytes: number;
  readonly refusals: RejectedCredentials;
  readonly version: string;
}

/** HTTP status of an error with `X-Centrifugo-Error-Mode: transport`. */
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
 * Mounts `POST /api/<method>`. Errors of a call are answered with 200 and an error object, as Centrifugo's HTTP API libraries
 * expect; an invalid key with 401 and no body, a body that is not a JSON object with 400. Failures are counted and logged by
 * reason.
 */
export const mountServerApi = (app: Express, deps: ServerApiDeps): void => {
  const calls = deps.metrics.counter('gateway_api_calls_total');
  const observerOf =
    (res: Response): ApiObserver =>
    (name, outcome) => {
      const method = deps.api.methods.includes(name) ? name : 'unknown';
      calls.inc({ method, result: resultOf(outcome) });
      if (outcome.ok) return;
      const { code, outcome: publication } = outcome;
      const fault = { reason: reasonOf(outcome), code, method, publication, requestId: requestIdOf(res) };
      deps.refusals.log('gateway.api_call_failed', fault);
    };
  const reject: RejectRequest = (res, { status, reason }) => {
    deps.refusals.record('api', { reason, requestId: requestIdOf(res) });
    res.status(status);
  };
  const handle = async (req: Request, res: Response): Promise<void> => {
    const method = String(req.params['method']);
    const text = typeof req.body === 'string' && req.body !== '' ? req.body : '{}';
    const params = parseObject(text);
    if (params === undefined) {
      reject(res, { status: 400, reason: 'malformed' });
      res.type('text/plain').send('Body: expected a JSON object.');
      return;
    }
    const by = { text, tenant: tenantOfKey(res), observe: observerOf(res) };
    send(req, res, method, await deps.api.call(method, params, by));
  };
  const info = {
    title: 'Muster server API',
    version: deps.version,
    description: 'For back ends: publish to groups, inspect groups and connections, and control connections.',
  };
  app.use('/api', docsRoutes(info, apiOperations));
  const body = express.text({ limit: deps.maxBodyBytes, type: () => true });
  const key = requireKey(deps.keys, reject);
  const legacy = createLegacyApi({ api: deps.api, observerOf, reject });
  app.post('/api/:method', key, body, handle);
  app.post('/api', key, body, legacy);
  app.all(['/api', '/api/:method'], (_req, res) => {
    res.setHeader('Allow', 'POST');
    throw new AppError('METHOD_NOT_ALLOWED', { detail: 'Use POST.' });
  });
};

const resultOf = (outcome: ApiOutcome): string => {
  if (outcome.ok) return 'ok';
  return outcome.appMessage === undefined ? String(outcome.code) : 'application';
};

/** Text of the error code in snake case; input of the caller is not logged. */
const reasonOf = ({ code, appMessage }: ApiFault): string =>
  appMessage === undefined ? REPLY_ERRORS[code as ReplyError].message.replaceAll(' ', '_') : 'application';

const send = (req: Request, res: Response, method: string, outcome: ApiOutcome): void => {
  res.type('application/json');
  if (outcome.ok) {
    // The replies of a batch have no `result` around them.
    res.send(method === 'batch' ? outcome.json : `{"result":${outcome.json}}`);
    return;
  }
  if (req.headers['x-centrifugo-error-mode'] !== 'transport') {
    res.send(`{"error":${errorJson(outcome)}}`);
    return;
  }
  res
    .status(outcome.appMessage === undefined ? (outcome.status ?? STATUS[outcome.code as ReplyError] ?? 500) : 400)
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
