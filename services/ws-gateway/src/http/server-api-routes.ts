import { requestIdOf } from '@muster/http/app';
import { docsRoutes } from '@muster/http/docs';
import { AppError } from '@muster/protocol/errors';
import express, { type Express, type Request, type Response } from 'express';
import { requireKey, tenantOfKey } from '../auth/server-api-keys.ts';
import { apiOperations } from './api-document.ts';
import { createLegacyApi } from './legacy-api.ts';
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
