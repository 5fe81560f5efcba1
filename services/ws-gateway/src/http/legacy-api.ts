import { ReplyError } from '@muster/protocol/codes';
import type { RequestHandler } from 'express';
import type { CallOptions, ServerApi } from '../core/api/api.ts';
import { errorJson } from '../core/api/faults.ts';
import { tenantOfKey } from './server-api-keys.ts';

const MAX_LINES = 1_000;

interface Line {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: unknown;
}

/**
 * `POST /api`, as libraries of earlier years call it: one `{"id"?,"method","params"}` on each line, answered by one
 * `{"id"?,"result"}` or `{"id"?,"error"}` on each, in order. At most 1000 lines.
 */
export const createLegacyApi =
  (call: ServerApi['call']): RequestHandler =>
  async (req, res) => {
    const lines = String(req.body ?? '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map(parseLine);
    if (lines.length === 0 || lines.length > MAX_LINES || lines.includes(undefined)) {
      res
        .status(400)
        .type('text/plain')
        .send(`The body must be 1 to ${MAX_LINES} lines, each a JSON object with a method.`);
      return;
    }
    const answers: string[] = [];
    for (const line of lines)
      if (line) answers.push(await answerLine(call, line, { tenant: tenantOfKey(res) }));
    res.type('application/json').send(answers.join('\n'));
  };

const answerLine = async (
  call: ServerApi['call'],
  { id, method, params }: Line,
  by: CallOptions,
): Promise<string> => {
  const outcome =
    typeof method === 'string' && method !== 'batch'
      ? await call(method, params ?? {}, by)
      : ({ ok: false, code: ReplyError.MethodNotFound } as const);
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
