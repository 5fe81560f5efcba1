import type { Operation } from '@muster/http/route';
import { z } from 'zod';
import { API_BODIES, API_RESULTS, apiError } from './api-schemas.ts';

const SUMMARIES: Readonly<Record<keyof typeof API_BODIES, string>> = {
  publish: 'Publishes data to a group',
  broadcast: 'Publishes the same data to many groups',
  subscribe: 'Subscribes connections to a group',
  send: 'Sends data to connections, outside of groups',
  refresh: 'Sets or ends the lifetime of connections',
  unsubscribe: 'Unsubscribes connections from one group, or from all',
  disconnect: 'Closes connections',
  presence: 'Clients in a group',
  presence_stats: 'Numbers of clients and users in a group',
  history: 'Publications in the history of a group, and its position',
  history_remove: 'Removes the publications of a group; position and epoch stay',
  channels: 'Groups with members, over all gateways',
  connections: 'Open connections, over all gateways',
  info: 'The gateways',
  rpc: 'Calls the RPC callback of the application',
  batch: 'Several calls in one request',
};

const TARGETING =
  'Selects connections by `user`, `session` and `client`, of which at least one is required. The result has the number of ' +
  'affected connections and of gateways that answered.';
const DESCRIPTIONS: Readonly<Partial<Record<keyof typeof API_BODIES, string>>> = {
  subscribe: TARGETING,
  send: TARGETING,
  refresh: TARGETING,
  unsubscribe: TARGETING,
  disconnect: TARGETING,
  publish:
    'Data is any JSON as `data`, or base64 of JSON text as `b64data`. The result has a position when the group keeps history. Calls with the ' +
    'same `idempotency_key` within five minutes publish once; a `version` that is not newer publishes nothing and returns the newest position.',
};

/** Operations of the OpenAPI document, one per method. */
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
        description: 'The result, or the error of the call.',
        schema: z.union([method === 'batch' ? result : z.object({ result }), z.object({ error: apiError })]),
      },
      400: { description: 'The body is not a JSON object.' },
      401: { description: 'Missing or invalid key.' },
      413: { description: 'The body is too large.' },
    },
  };
});
