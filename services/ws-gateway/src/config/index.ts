import { hostname } from 'node:os';
import { networks } from '@muster/http/client-address';
import { readSettings, rejectProblems } from '@muster/kit/config';
import { commonConfig, commonSettings, redisConfig, redisSettings } from '@muster/kit/config-common';
import { field, placeholderProblems } from '@muster/kit/config-fields';
import { type GroupName, isTenantName } from '@muster/protocol/ids';
import { cookieNameFor } from '@muster/session/cookie';
import { createTenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import type { ServerApiKey } from '../auth/server-api-keys.ts';
import { createNamespaces } from '../core/namespaces.ts';
import { accessConfig, accessProblems, accessSettings, callbackProblems } from './auth.ts';
import { readGroupsFile } from './groups.ts';
import { limitSettings } from './limits.ts';

/** Parses entries such as `shop=key`; a key may contain `=`. Throws a `TypeError` without the key. */
const tenantKeys = (entries: readonly string[]): readonly ServerApiKey[] =>
  entries.map((entry) => {
    const [tenant = '', ...rest] = entry.split('=');
    const key = rest.join('=');
    if (!isTenantName(tenant) || key === '') throw new TypeError('expected entries of the form tenant=key');
    return { tenant, key };
  });

const MIN_SECRET_BYTES = 32;
const MIN_KEY_BYTES = 16;

/** Every environment variable of the gateway. */
export const settings = z.object({
  ...commonSettings({ port: 8200, opsPort: 9200 }),
  ...redisSettings,
  SESSION_SECRETS: field
    .secrets({ min: MIN_SECRET_BYTES })
    .describe('signing keys of session tokens, the same as in the session service; reloaded on SIGHUP'),
  SESSION_SERVICE_URL: field
    .urls('http', 'https')
    .describe('internal planes (`OPS_PORT`) of the session services, comma-separated; tried in order'),
  INTERNAL_API_KEY: field
    .secret({ min: MIN_KEY_BYTES })
    .describe('API key of the internal plane of the session service'),
  PUBLIC_URL: field.url('http', 'https').describe('URL under which browsers reach the fleet'),
  COOKIE_NAME: z
    .string()
    .regex(/^[\w!#$%&'*+.^`|~-]{1,64}$/, 'expected a cookie name')
    .optional()
    .describe('name of the session cookie')
    .meta({ fallback: '`__Host-session_id`; `session_id` on http' }),
  ALLOWED_ORIGINS: field
    .origins()
    .describe('origins that may open sockets, comma-separated, compared exactly')
    .meta({ fallback: 'origin of PUBLIC_URL' }),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe(
      'hosts of tenants, the same as in the session service: a session is valid at the hosts of its tenant only',
    ),
  ...accessSettings,
  GROUPS_FILE: z.string().optional().describe('JSON file with group options by namespace; reloaded on SIGHUP'),
  PERSONAL_GROUPS: z
    .string()
    .regex(/^[\x20-\x7e]{0,63}#$/, 'expected a name that ends in #, for example user:#')
    .optional()
    .describe(
      'prefix of personal groups, for example `user:#`: every client is subscribed to the group of its user, `user:#ann`; `#`, `,`, `%` and characters other than printable ASCII in the user id are percent-encoded',
    ),
  SERVER_API_KEYS: field
    .list()
    .describe('keys of the server API for all tenants, at least 16 bytes each; reloaded on SIGHUP'),
  SERVER_API_TENANT_KEYS: field
    .listAs(tenantKeys)
    .describe(
      'keys of the server API for a single tenant, as `tenant=key`, at least 16 bytes each; reloaded on SIGHUP',
    ),
  PING_INTERVAL_MS: field.ms(25_000, { min: 100 }).describe('interval of pings to a client'),
  PONG_TIMEOUT_MS: field.ms(8_000, { min: 50 }).describe('timeout of a pong; shorter than PING_INTERVAL_MS'),
  HANDSHAKE_TIMEOUT_MS: field
    .ms(10_000, { min: 50 })
    .describe('timeout from the upgrade to `connect` (close 3502), and of the check of its credential (close 3004)'),
  PLAIN_SILENCE_MS: field.ms(120_000, { min: 50 }).describe('idle timeout of plain connections (close 3012)'),
  PLAIN_SWEEP_MS: field.ms(60_000, { min: 50 }).describe('interval of idle checks of plain connections'),
  PUBLISH_BATCH_WINDOW_MS: field
    .ms(5, { min: 0, max: 1_000 })
    .describe(
      'longest batching window of a group after a write, in ms; it is 1/32 ms per member, and groups of fewer than 32 members join what one turn of the event loop brings; 0 disables batching',
    ),
  DIRECT_WRITES: field
    .onOff('on')
    .describe('writes to libuv handles directly (self-tested at start-up); `off` writes to socket streams'),
  REUSE_PORT: field
    .onOff('off')
    .describe(
      '`on` shares PORT with other gateways of this machine (SO_REUSEPORT): the kernel distributes connections, a drain closes the port first, and OPS_PORT, which stays individual, serves aggregators alone',
    ),
  TRUSTED_PROXIES: networks().describe(
    'addresses or networks of load balancers whose `X-Forwarded-For` is trusted, comma-separated',
  ),
  HANDSHAKE_CONCURRENCY: field
    .count(64, { min: 1, max: 10_000 })
    .describe('concurrent credential checks; further checks wait in a FIFO queue'),
  VERIFIED_SESSION_MS: field
    .ms(60_000, { min: 0, max: 600_000 })
    .describe(
      'time for which a session that was checked needs no check when its client reconnects, while every change of sessions is received; 0 checks every time',
    ),
  WRITE_TIMEOUT_MS: field
    .ms(20_000, { min: 100 })
    .describe(
      'timeout of writes: a client that reads nothing for this long while bytes are pending is closed with 3009',
    ),
  WARM_UP_MS: field
    .ms(5_000, { min: 0, max: 60_000 })
    .describe(
      'longest warm-up before the port opens: clients of its own, invisible to others, connect, subscribe and publish, so that the first real clients meet compiled code; 0 for none',
    )
    .meta({ fallback: '5000 in production, else 0' }),
  DRAIN_ACCEPT_MS: field
    .ms(3_000, { min: 0 })
    .describe(
      'time for which a draining gateway still accepts upgrades, until load balancers have noticed that it is not ready',
    ),
  ...limitSettings,
});

/** The configuration of the gateway. */
export type GatewayConfig = ReturnType<typeof readConfig>;

/** Reads the configuration; throws ConfigError with every problem. */
export const readConfig = (env: NodeJS.ProcessEnv) => {
  const values = readSettings(settings, env);
  const config = {
    ...values,
    common: commonConfig(withInstanceName(values)),
    redis: redisConfig(values),
    access: accessConfig(values),
    sessionServiceUrls: values.sessionServiceUrl,
    cookieName: cookieNameFor(values.publicUrl, values.cookieName),
    allowedOrigins: values.allowedOrigins ?? [new URL(values.publicUrl).origin],
    /** Undefined: every group has the default options. */
    groups: values.groupsFile === undefined ? undefined : readGroupsFile(values.groupsFile),
    serverApiKeys: [
      ...values.serverApiKeys.map((key): ServerApiKey => ({ key, tenant: undefined })),
      ...values.serverApiTenantKeys,
    ],
    /** Bytes of a frame of several messages. */
    maxFrameBytes: largestFrame(values),
    maxPublicationBytes: largestPublication(values, env['MAX_PUBLICATION_BYTES'] !== undefined),
    /** It delays every start, which matters while developing more than the cost of the first handshakes. */
    warmUpMs: values.nodeEnv === 'production' || env['WARM_UP_MS'] !== undefined ? values.warmUpMs : 0,
    rate: { perSecond: values.maxCommandsPerS, burst: values.maxCommandsPerS * 2 },
  };
  rejectProblems([
    ...problemsOf(config),
    ...accessProblems(values, values.nodeEnv === 'production'),
    ...callbackProblems(config.groups, config.access.callbacks),
  ]);
  return Object.freeze(config);
};

/** Of several processes on one port, the ops port identifies each. */
const withInstanceName = <T extends InstanceNaming>(values: T): T =>
  values.reusePort ? { ...values, instanceName: values.instanceName ?? `${hostname()}:${values.opsPort}` } : values;

interface InstanceNaming {
  readonly reusePort: boolean;
  readonly opsPort: number;
  readonly instanceName?: string | undefined;
}

/** SDKs resubscribe to all groups in one frame, with a token for each. */
const BYTES_PER_SUBSCRIPTION = 4_096;
const LARGEST_FRAME_BYTES = 16_777_216;

interface MessageLimits {
  readonly maxMessageBytes: number;
  readonly maxSubscriptions: number;
}

const largestFrame = ({ maxMessageBytes, maxSubscriptions }: MessageLimits): number =>
  Math.max(maxMessageBytes, Math.min(maxSubscriptions * BYTES_PER_SUBSCRIPTION, LARGEST_FRAME_BYTES));

interface PublicationLimits {
  readonly maxPublicationBytes: number;
  readonly maxSendBufferBytes: number;
}

/** The default depends on the send buffer, which must hold a burst of a few publications. */
const largestPublication = ({ maxPublicationBytes, maxSendBufferBytes }: PublicationLimits, isSet: boolean): number =>
  isSet ? maxPublicationBytes : Math.min(maxPublicationBytes, Math.floor(maxSendBufferBytes / 4));

const serverKeyProblems = (keys: readonly ServerApiKey[]): string[] => {
  const short = keys.filter(({ key }) => Buffer.byteLength(key) < MIN_KEY_BYTES);
  const names = short.map(({ tenant }) => (tenant === undefined ? 'SERVER_API_KEYS' : 'SERVER_API_TENANT_KEYS'));
  return [...new Set(names)].map((name) => `${name}: expected at least ${MIN_KEY_BYTES} bytes per key`);
};

const problemsOf = (config: GatewayConfig): string[] => {
  const problems: string[] = [];
  if (config.pongTimeoutMs >= config.pingIntervalMs) {
    problems.push('PONG_TIMEOUT_MS: expected less than PING_INTERVAL_MS');
  }
  if (config.maxPublicationBytes > config.maxSendBufferBytes / 2) {
    problems.push(
      `MAX_PUBLICATION_BYTES: expected at most half of MAX_SEND_BUFFER_BYTES (${config.maxSendBufferBytes}), got ${config.maxPublicationBytes}`,
    );
  }
  problems.push(...serverKeyProblems(config.serverApiKeys));
  if (config.reusePort && config.port === 0) problems.push('REUSE_PORT: expected a fixed PORT, got 0');
  const { groups, personalGroups } = config;
  if (groups !== undefined && personalGroups !== undefined) {
    const { optionsOf } = createNamespaces(() => groups);
    if (optionsOf(`${personalGroups}user` as GroupName) === undefined)
      problems.push('PERSONAL_GROUPS: expected a namespace of GROUPS_FILE');
  }
  if (config.nodeEnv !== 'production') return problems;
  return [
    ...problems,
    ...placeholderProblems({
      SESSION_SECRETS: config.sessionSecrets,
      INTERNAL_API_KEY: [config.internalApiKey],
      SERVER_API_KEYS: config.serverApiKeys.map(({ key }) => key),
    }),
  ];
};
