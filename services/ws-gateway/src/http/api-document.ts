import type { Operation } from '@muster/http/route';
import { z } from 'zod';
import { API_BODIES, API_RESULTS, apiError } from './api-schemas.ts';

const SUMMARIES: Readonly<Record<keyof typeof API_BODIES, string>> = {
  publish: 'Sends data to a group',
  broadcast: 'Sends the same data to many groups',
  subscribe: 'Puts connections into a group',
  send: 'Sends data to connections, outside of groups',
  refresh: 'Sets when connections end',
  unsubscribe: 'Takes connections out of one group, or of all',
  disconnect: 'Closes connections',
  presence: 'Who is in a group',
  presence_stats: 'How many are in a group',
  history: 'Publications that a group keeps, and its position',
  history_remove: 'Forgets the publications of a group; position and epoch stay',
  channels: 'Groups that have members, over all gateways',
  connections: 'Open connections, over all gateways',
  info: 'The gateways',
  rpc: 'Calls the application as a client would',
  batch: 'Many calls in one request',
};

const TARGETING =
  'Who is meant: connections of `user`, of `session`, or the one `client`; what is not given fits everybody, and somebody must be named. ' +
  'The answer says how many connections it concerned, and how many gateways answered.';
const DESCRIPTIONS: Readonly<Partial<Record<keyof typeof API_BODIES, string>>> = {
  subscribe: TARGETING,
  send: TARGETING,
  refresh: TARGETING,
  unsubscribe: TARGETING,
  disconnect: TARGETING,
  publish:
    'Data is any JSON as `data`, or base64 of JSON text as `b64data`. The result holds a position when the group keeps history. The same ' +
    '`idempotency_key` within five minutes publishes once; a `version` that is not newer publishes nothing and is answered with the newest position.',
};

/** Every method of the server API, for its document. */
export const apiOperations: readonly Operation[] = Object.entries(API_BODIES).map(([name, body]) => {
  const method = name as keyof typeof API_BODIES;
  const description = DESCRIPTIONS[method];
  const result = API_RESULTS[method];
  return {
    method: 'post',
    path: `/api/${method}`,
    summary: SUMMARIES[method],
    ...(description === undefined ? {} : { description }),
    tags: ['server API'],
    security: ['serverKey'],
    body,
    responses: {
      200: {
        description: 'The result, or an error of the call by its code.',
        schema: z.union([method === 'batch' ? result : z.object({ result }), z.object({ error: apiError })]),
      },
      400: { description: 'The body is not a JSON object.' },
      401: { description: 'No key, or a wrong one.' },
      413: { description: 'The body is too long.' },
    },
  };
});
