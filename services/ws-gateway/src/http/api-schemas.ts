import { z } from 'zod';

/** The error object of a call. */
export const apiError = z.object({
  code: z.int().describe('code of the protocol, such as 102'),
  message: z.string().describe('text of the code, and the cause'),
  outcome: z
    .enum(['unknown', 'not_published'])
    .optional()
    .describe('only after a fault of Redis: `unknown` when the publication may have been made'),
});

const group = z
  .string()
  .regex(/^[ -~]{1,255}$/)
  .describe('name of a group');
const tenant = z
  .string()
  .regex(/^[\w.-]{1,64}$/)
  .optional()
  .describe(
    'tenant of the groups, users and connections; default: that of the key, else `default`; a key of a tenant rejects others',
  );
const tenantOfTarget = tenant.describe(
  'tenant of the users and connections; default: that of the key, else `default` for a `user`, and all for a `client` or `session`',
);
const tenants = z
  .union([tenant.unwrap(), z.literal('*')])
  .optional()
  .describe('as for other methods, or `*` for all tenants');
const json = z.unknown().describe('any JSON');
const count = z.int().min(0);
const position = z.object({ offset: count, epoch: z.string() });

const message = {
  data: json.optional(),
  b64data: z.string().optional().describe('base64 of JSON text, instead of `data`'),
  skip_history: z.boolean().optional().describe('does not add the publication to the history'),
  tags: z.record(z.string(), z.string()).optional().describe('tags for the filters of subscribers'),
  idempotency_key: z
    .string()
    .max(255)
    .optional()
    .describe('publishes once within five minutes; in a broadcast once per group'),
  version: count.optional().describe('0 for none'),
  version_epoch: z.string().max(255).optional(),
  exclude: z
    .object({ client: z.string().optional(), session: z.string().optional() })
    .optional()
    .describe('members that do not receive the publication'),
};

const target = {
  tenant: tenantOfTarget,
  user: z.string().optional(),
  client: z.string().optional(),
  session: z.string().optional(),
};

/** Request bodies by method. The gateway ignores other members. */
export const API_BODIES = {
  publish: z.object({ tenant, channel: group, ...message, delta: z.boolean().optional() }),
  broadcast: z.object({
    tenant,
    channels: z.array(group).min(1).max(10_000),
    ...message,
    delta: z.boolean().optional(),
  }),
  subscribe: z.object({
    ...target,
    channel: group,
    info: json.optional().describe('`chan_info` of the client in the group'),
    data: json.optional().describe('data of the push to the client'),
    expire_at: count.optional().describe('seconds since the Unix epoch; 0 for no expiry'),
    recover_since: position.optional().describe('position after which missed publications are sent'),
    override: z
      .object({
        presence: z.object({ value: z.boolean() }).optional(),
        join_leave: z.object({ value: z.boolean() }).optional(),
        force_push_join_leave: z.object({ value: z.boolean() }).optional(),
        force_recovery: z.object({ value: z.boolean() }).optional(),
        force_positioning: z.object({ value: z.boolean() }).optional(),
      })
      .optional()
      .describe('group options that differ for these clients'),
  }),
  send: z.object({ ...target, data: json }),
  refresh: z.object({
    ...target,
    expired: z.boolean().optional().describe('ends the connections at once; clients reconnect'),
    expire_at: count
      .optional()
      .describe(
        'seconds since the Unix epoch; 0 or none: a session keeps its expiry, a connection with a token no longer expires',
      ),
  }),
  unsubscribe: z.object({ ...target, channel: z.string().optional().describe('empty for all groups') }),
  disconnect: z.object({
    ...target,
    whitelist: z.array(z.string()).optional().describe('clients that stay connected'),
    disconnect: z
      .object({ code: z.int().min(3000).max(4999), reason: z.string().max(123).optional() })
      .optional()
      .describe('default 3503'),
  }),
  presence: z.object({ tenant, channel: group }),
  presence_stats: z.object({ tenant, channel: group }),
  history: z.object({
    tenant,
    channel: group,
    limit: z.int().optional().describe('0 for the position only; negative for the most that a result may have'),
    since: position.optional(),
    reverse: z.boolean().optional().describe('newest first'),
  }),
  history_remove: z.object({ tenant, channel: group }),
  channels: z.object({
    tenant: tenants,
    pattern: z.string().max(255).optional().describe('pattern with `*` and `?`'),
  }),
  connections: z.object({
    ...target,
    tenant: tenants.describe('default: as in `disconnect` with a `client` or `session`; `*` for all tenants'),
    channel: z.string().optional().describe('only members of this group'),
    limit: z.int().min(0).max(10_000).optional().describe('default 1000'),
  }),
  info: z.object({ tenant: tenants }),
  rpc: z.object({ tenant, method: z.string(), params: json.optional() }),
  batch: z.object({
    tenant,
    commands: z
      .array(z.record(z.string(), z.object({}).loose()))
      .max(1_000)
      .describe('[{"publish":{…}},…]'),
    parallel: z.boolean().optional(),
  }),
} as const;

const nothing = z.object({});
const published = z.object({ offset: count.optional(), epoch: z.string().optional() });
const affected = z.object({ clients: count, gateways: count });
const clientInfo = z.object({
  user: z.string().optional(),
  client: z.string(),
  conn_info: json.optional(),
  chan_info: json.optional(),
});
const publication = z.object({
  data: json,
  offset: count.optional(),
  info: clientInfo.optional(),
  tags: z.record(z.string(), z.string()).optional(),
  version: count.optional(),
});

/** Results by method. */
export const API_RESULTS: Readonly<Record<keyof typeof API_BODIES, z.ZodType>> = {
  publish: published,
  broadcast: z.object({
    responses: z.array(z.union([z.object({ result: published }), z.object({ error: apiError })])),
  }),
  subscribe: affected,
  send: affected,
  refresh: affected,
  unsubscribe: affected,
  disconnect: affected,
  presence: z.object({ presence: z.record(z.string(), clientInfo) }),
  presence_stats: z.object({ num_clients: count, num_users: count }),
  history: z.object({ publications: z.array(publication), offset: count, epoch: z.string() }),
  history_remove: nothing,
  channels: z.object({
    channels: z.record(
      z.string(),
      z.object({
        num_clients: count,
        tenants: z.record(z.string(), count).optional().describe('clients by tenant, with `tenant: "*"`'),
      }),
    ),
  }),
  connections: z.object({
    connections: z.array(
      z.object({
        tenant: z.string(),
        client: z.string(),
        user: z.string(),
        session: z.string(),
        gateway: z.string(),
        transport: z.enum(['websocket', 'plain']),
        groups: z.array(z.string()),
        since: count.describe('ms since the Unix epoch'),
        lag: count.describe('bytes in the send buffer'),
        behind: z.array(z.string()).describe('groups in which the client is being caught up'),
      }),
    ),
    gateways: count,
  }),
  info: z.object({
    tenant: z.string().optional().describe('the counted tenant; absent for all'),
    nodes: z.array(
      z.object({
        uid: z.string(),
        name: z.string(),
        version: z.string(),
        num_clients: count,
        num_users: count,
        num_subs: count,
        num_channels: count,
        uptime: count.describe('seconds'),
      }),
    ),
  }),
  rpc: z.object({ data: json.optional() }),
  batch: z.object({ replies: z.array(z.record(z.string(), json)) }),
};
