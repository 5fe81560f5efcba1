import { isNetwork } from '@muster/http/client-address';
import {
  type CommonConfig,
  ConfigError,
  commonConfig,
  commonSettings,
  field,
  isPlaceholderSecret,
  type RedisConfig,
  readSettings,
  redisConfig,
  redisSettings,
} from '@muster/kit/config';
import { type GroupName, isTenantName } from '@muster/protocol/ids';
import { cookieNameFor } from '@muster/session/cookie';
import { createTenantHosts, type TenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import { createNamespaces, type NamespaceTable } from '../core/namespaces.ts';
import type { ServerApiKey } from '../http/server-api-keys.ts';
import { type AccessConfig, accessConfig, accessProblems, accessSettings, callbackProblems } from './auth.ts';
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
    .describe('default: `__Host-session_id` on https, `session_id` on http'),
  ALLOWED_ORIGINS: field
    .origins()
    .describe('origins that may open sockets, compared exactly; default: the origin of PUBLIC_URL'),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe(
      'hosts of tenants, the same as in the session service: a session is valid at the hosts of its tenant only',
    ),
  ...accessSettings,
  GROUPS_FILE: z
    .string()
    .optional()
    .describe('JSON file with group options by namespace; reloaded on SIGHUP'),
  PERSONAL_GROUPS: z
    .string()
    .regex(/^[\x20-\x7e]{0,63}#$/, 'expected a name that ends in #, for example user:#')
    .optional()
    .describe(
      'prefix of personal groups, for example `user:#`: every client is subscribed to the group of its user; default: none',
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
    .describe(
      'timeout from the upgrade to `connect` (close 3502), and of the check of its credential (close 3004)',
    ),
  PLAIN_SILENCE_MS: field.ms(120_000, { min: 50 }).describe('idle timeout of plain connections (close 3012)'),
  PLAIN_SWEEP_MS: field.ms(60_000, { min: 50 }).describe('interval of idle checks of plain connections'),
  PUBLISH_BATCH_WINDOW_MS: field
    .ms(5, { min: 0, max: 1_000 })
    .describe(
      'batching window for busy groups, in ms; an idle group is flushed at once; 0 disables batching',
    ),
  DIRECT_WRITES: z
    .enum(['on', 'off'])
    .default('on')
    .describe('writes to libuv handles directly (self-tested at start-up); `off` writes to socket streams'),
  TRUSTED_PROXIES: field
    .list()
    .describe('addresses or networks of load balancers whose `X-Forwarded-For` is trusted'),
  HANDSHAKE_CONCURRENCY: field
    .count(64, { min: 1, max: 10_000 })
    .describe('concurrent credential checks; further ones wait in a FIFO queue'),
  WRITE_TIMEOUT_MS: field
    .ms(20_000, { min: 100 })
    .describe(
      'timeout of writes: a client that reads nothing for this long while bytes are pending is closed with 3009',
    ),
  DRAIN_ACCEPT_MS: field
    .ms(3_000, { min: 0 })
    .describe(
      'time for which a draining gateway still accepts upgrades, until load balancers have noticed that it is not ready',
    ),
  ...limitSettings,
});

/** The configuration of the gateway. */
export interface GatewayConfig {
  readonly common: CommonConfig;
  readonly redis: RedisConfig;
  readonly sessionSecrets: readonly string[];
  readonly access: AccessConfig;
  readonly sessionServiceUrls: readonly string[];
  readonly internalApiKey: string;
  readonly cookieName: string;
  readonly tenantHosts: TenantHosts;
  readonly allowedOrigins: readonly string[];
  /** Undefined: all groups have the default options. */
  readonly groupsFile: string | undefined;
  readonly groups: NamespaceTable | undefined;
  /** Undefined: no personal groups. */
  readonly personalGroups: string | undefined;
  readonly serverApiKeys: readonly ServerApiKey[];
  readonly pingIntervalMs: number;
  readonly pongTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly plainSilenceMs: number;
  readonly plainSweepMs: number;
  readonly maxMessageBytes: number;
  /** Bytes of a frame that holds several messages. */
  readonly maxFrameBytes: number;
  readonly maxSendBufferBytes: number;
  readonly maxPublicationBytes: number;
  readonly publishBatchWindowMs: number;
  readonly directWrites: boolean;
  readonly maxConnections: number;
  readonly maxConnectionsPerUser: number;
  readonly maxConnectionsPerSession: number;
  readonly maxConnectionsPerIp: number;
  readonly trustedProxies: readonly string[];
  readonly handshakeConcurrency: number;
  readonly handshakeQueue: number;
  readonly writeTimeoutMs: number;
  readonly drainAcceptMs: number;
  readonly maxSubscriptions: number;
  readonly maxSubscriptionsPerSession: number;
  readonly maxNewGroupsPerMinute: number;
  readonly maxPublishedBytesPerS: number;
  readonly maxReadBytesPerS: number;
  readonly maxPresenceClients: number;
  readonly maxBatchAnswerBytes: number;
  readonly rate: { readonly perSecond: number; readonly burst: number };
}

/** Reads the configuration. Throws a {@link ConfigError} that lists all problems. */
export const readConfig = (env: NodeJS.ProcessEnv): GatewayConfig => {
  const parsed = readSettings(settings, env);
  const config: GatewayConfig = {
    common: commonConfig(parsed),
    redis: redisConfig(parsed),
    sessionSecrets: parsed.SESSION_SECRETS,
    access: accessConfig(parsed),
    sessionServiceUrls: parsed.SESSION_SERVICE_URL,
    internalApiKey: parsed.INTERNAL_API_KEY,
    cookieName: cookieNameFor(parsed.PUBLIC_URL, parsed.COOKIE_NAME),
    tenantHosts: parsed.TENANT_HOSTS,
    allowedOrigins: parsed.ALLOWED_ORIGINS ?? [new URL(parsed.PUBLIC_URL).origin],
    groupsFile: parsed.GROUPS_FILE,
    groups: parsed.GROUPS_FILE === undefined ? undefined : readGroupsFile(parsed.GROUPS_FILE),
    personalGroups: parsed.PERSONAL_GROUPS,
    serverApiKeys: [
      ...parsed.SERVER_API_KEYS.map((key) => ({ key, tenant: undefined })),
      ...parsed.SERVER_API_TENANT_KEYS,
    ],
    pingIntervalMs: parsed.PING_INTERVAL_MS,
    pongTimeoutMs: parsed.PONG_TIMEOUT_MS,
    handshakeTimeoutMs: parsed.HANDSHAKE_TIMEOUT_MS,
    plainSilenceMs: parsed.PLAIN_SILENCE_MS,
    plainSweepMs: parsed.PLAIN_SWEEP_MS,
    maxMessageBytes: parsed.MAX_MESSAGE_BYTES,
    maxFrameBytes: largestFrame(parsed),
    maxSendBufferBytes: parsed.MAX_SEND_BUFFER_BYTES,
    maxPublicationBytes: largestPublication(parsed, env['MAX_PUBLICATION_BYTES'] !== undefined),
    publishBatchWindowMs: parsed.PUBLISH_BATCH_WINDOW_MS,
    directWrites: parsed.DIRECT_WRITES === 'on',
    maxConnections: parsed.MAX_CONNECTIONS,
    maxConnectionsPerUser: parsed.MAX_CONNECTIONS_PER_USER,
    maxConnectionsPerSession: parsed.MAX_CONNECTIONS_PER_SESSION,
    maxConnectionsPerIp: parsed.MAX_CONNECTIONS_PER_IP,
    trustedProxies: parsed.TRUSTED_PROXIES,
    handshakeConcurrency: parsed.HANDSHAKE_CONCURRENCY,
    handshakeQueue: parsed.HANDSHAKE_QUEUE,
    writeTimeoutMs: parsed.WRITE_TIMEOUT_MS,
    drainAcceptMs: parsed.DRAIN_ACCEPT_MS,
    maxSubscriptions: parsed.MAX_SUBSCRIPTIONS,
    maxSubscriptionsPerSession: parsed.MAX_SUBSCRIPTIONS_PER_SESSION,
    maxNewGroupsPerMinute: parsed.MAX_NEW_GROUPS_PER_MINUTE,
    maxPublishedBytesPerS: parsed.MAX_PUBLISHED_BYTES_PER_S,
    maxReadBytesPerS: parsed.MAX_READ_BYTES_PER_S,
    maxPresenceClients: parsed.MAX_PRESENCE_CLIENTS,
    maxBatchAnswerBytes: parsed.MAX_BATCH_ANSWER_BYTES,
    rate: { perSecond: parsed.MAX_COMMANDS_PER_S, burst: parsed.MAX_COMMANDS_PER_S * 2 },
  };
  const problems = [
    ...problemsOf(config),
    ...accessProblems(parsed, config.common.environment === 'production'),
    ...callbackProblems(config.groups, config.access.callbacks),
  ];
  if (problems.length > 0) {
    throw new ConfigError(
      `Invalid configuration:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`,
    );
  }
  return Object.freeze(config);
};

/** SDKs resubscribe to all groups in one frame, with a token for each. */
const BYTES_PER_SUBSCRIPTION = 4_096;
const LARGEST_FRAME_BYTES = 16_777_216;

const largestFrame = ({
  MAX_MESSAGE_BYTES: message,
  MAX_SUBSCRIPTIONS: subscriptions,
}: Pick<z.infer<typeof settings>, 'MAX_MESSAGE_BYTES' | 'MAX_SUBSCRIPTIONS'>): number =>
  Math.max(message, Math.min(subscriptions * BYTES_PER_SUBSCRIPTION, LARGEST_FRAME_BYTES));

/** The default depends on the send buffer, which must hold a burst of a few publications. */
const largestPublication = (
  {
    MAX_PUBLICATION_BYTES: bytes,
    MAX_SEND_BUFFER_BYTES: sendBuffer,
  }: Pick<z.infer<typeof settings>, 'MAX_PUBLICATION_BYTES' | 'MAX_SEND_BUFFER_BYTES'>,
  isSet: boolean,
): number => (isSet ? bytes : Math.min(bytes, Math.floor(sendBuffer / 4)));

const serverKeyProblems = (keys: GatewayConfig['serverApiKeys']): string[] => {
  const short = keys.filter(({ key }) => Buffer.byteLength(key) < MIN_KEY_BYTES);
  const names = short.map(({ tenant }) =>
    tenant === undefined ? 'SERVER_API_KEYS' : 'SERVER_API_TENANT_KEYS',
  );
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
  for (const one of config.trustedProxies) {
    if (!isNetwork(one)) problems.push(`TRUSTED_PROXIES: expected addresses or networks, got ${one}`);
  }
  const { groups, personalGroups } = config;
  if (groups !== undefined && personalGroups !== undefined) {
    const { optionsOf } = createNamespaces(() => groups);
    if (optionsOf(`${personalGroups}user` as GroupName) === undefined)
      problems.push('PERSONAL_GROUPS: expected a namespace of GROUPS_FILE');
  }
  const secrets: [string, readonly string[]][] = [
    ['SESSION_SECRETS', config.sessionSecrets],
    ['INTERNAL_API_KEY', [config.internalApiKey]],
    ['SERVER_API_KEYS', config.serverApiKeys.map(({ key }) => key)],
  ];
  for (const [name, values] of secrets) {
    if (config.common.environment === 'production' && values.some(isPlaceholderSecret)) {
      problems.push(`${name}: an example value is rejected in production. Generate a secret`);
    }
  }
  return problems;
};
