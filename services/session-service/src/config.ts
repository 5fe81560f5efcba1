import { networks } from '@muster/http/client-address';
import { readSettings, rejectProblems } from '@muster/kit/config';
import { commonConfig, commonSettings, redisConfig, redisSettings } from '@muster/kit/config-common';
import { ceiling, field, placeholderProblems } from '@muster/kit/config-fields';
import { cookieNameFor } from '@muster/session/cookie';
import { createTenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import { issuerProblems, issuersField } from './config-oidc.ts';
import { postgresConfig, postgresSettings } from './config-postgres.ts';
import { IP_MODES } from './core/ip-anonymization.ts';

const MIN_SECRET_BYTES = 32;
const MIN_KEY_BYTES = 16;
const COOKIE_NAME = /^[\w!#$%&'*+.^`|~-]{1,64}$/;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** A limit beyond which requests are refused and counted under `scope`. */
const limited = (what: string, scope: string, rule: string) =>
  ceiling(what, '429 with `Retry-After`', `session_rate_limited_total{scope="${scope}"}`, rule);

/** Every environment variable of the session service. */
export const settings = z.object({
  ...commonSettings({ port: 8100, opsPort: 9100 }),
  ...redisSettings,
  ...postgresSettings,
  SESSION_SECRETS: field
    .secrets({ min: MIN_SECRET_BYTES })
    .describe(
      'signing keys of session tokens, comma-separated, at least 32 bytes each; the first signs, all are accepted; reloaded on SIGHUP',
    ),
  SERVICE_API_KEYS: field
    .secrets({ min: MIN_KEY_BYTES })
    .describe('API keys of back ends with every scope, comma-separated, at least 16 bytes each'),
  INTERNAL_API_KEY: field
    .secret({ min: MIN_KEY_BYTES })
    .describe('API key of the internal plane on OPS_PORT, for the gateways; at least 16 bytes'),
  PUBLIC_URL: field
    .url('http', 'https')
    .describe('URL under which browsers reach the fleet; https, except on localhost in development'),
  COOKIE_NAME: z
    .string()
    .regex(COOKIE_NAME, 'expected a cookie name')
    .optional()
    .describe('name of the session cookie')
    .meta({ fallback: '`__Host-session_id`; `session_id` on http' }),
  COOKIE_EMBED: field
    .onOff('off')
    .describe('for pages embedded in other sites: cookies get `SameSite=None; Partitioned`; https only'),
  ALLOWED_ORIGINS: field
    .origins()
    .describe('origins that may send state-changing requests with a session cookie, comma-separated, compared exactly')
    .meta({ fallback: 'origin of PUBLIC_URL' }),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe(
      'hosts of tenants, for example `shop.example.com=shop`: a session is valid at the hosts of its tenant only',
    ),
  GUEST_SESSIONS: field.onOff('off').describe('accepts guest sessions, which need no account'),
  GUEST_LIMIT_PER_MINUTE: field
    .count(60, { min: 1 })
    .describe('new guest sessions per minute and address (IPv6: /64)')
    .meta(limited('guest sessions of an address per minute', 'guest', 'GC1')),
  GUEST_LIMIT_PER_NETWORK: field
    .count(300, { min: 1 })
    .describe('new guest sessions per minute and network (IPv4 /24, IPv6 /48)')
    .meta(limited('guest sessions of a network per minute', 'guest_network', 'GC1')),
  GUEST_LIMIT_PER_TENANT: field
    .count(3_000, { min: 1 })
    .describe('new guest sessions per minute and tenant, in the whole fleet')
    .meta(limited('guest sessions of a tenant per minute', 'guest_tenant', 'GC1')),
  MAX_GUEST_SESSIONS: field
    .count(100_000, { min: 1, max: 10_000_000 })
    .describe('live guest sessions per tenant')
    .meta(limited('live guest sessions of a tenant', 'guest_total', 'GC2')),
  SESSION_LIMIT_PER_MINUTE: field
    .count(1_200)
    .describe('requests per minute of a session to one replica; 0 for no limit')
    .meta(limited('requests of a session per minute and replica', 'session', 'SE42')),
  KEY_LIMIT_PER_MINUTE: field
    .count(60_000)
    .describe('requests per minute of an API key to one replica; 0 for no limit')
    .meta(limited('requests of an API key per minute and replica', 'key', 'SE42')),
  FAILURE_LIMIT_PER_MINUTE: field
    .count(300)
    .describe('invalid tokens and keys per minute of an address at one replica; 0 for no limit')
    .meta(limited('bad credentials of an address per minute and replica', 'failures', 'SE42')),
  SESSION_IP_MODE: z
    .enum(IP_MODES)
    .default('truncated')
    .describe('storage of client addresses: `truncated` to /24 and /48, `full`, `hashed` or `none`'),
  TRUSTED_PROXIES: networks().describe(
    'addresses or networks of load balancers whose `X-Forwarded-For` is trusted, comma-separated',
  ),
  OUTBOX_POLL_MS: field.ms(500, { min: 50 }).describe('interval of the outbox relay, which publishes pending changes'),
  SWEEP_INTERVAL_MS: field
    .ms(5_000, { min: 50 })
    .describe('interval of the sweep, which stores activity and ends expired sessions'),
  ENDED_RETENTION_DAYS: field.count(30, { min: 1, max: 3_650 }).describe('days after which ended sessions are deleted'),
  GUEST_RETENTION_HOURS: field
    .count(24, { min: 1, max: 87_600 })
    .describe('hours after which ended guest sessions are deleted'),
  EVENT_RETENTION_DAYS: field
    .count(90, { min: 1, max: 3_650 })
    .describe('days after which a month of the audit log is dropped'),
  EXPECTED_REPLICAS: field
    .count(1, { min: 1, max: 1_000 })
    .describe(
      'replicas of the session service; with REPLICA_SURGE it decides whether max_connections of Postgres suffices',
    ),
  REPLICA_SURGE: field.count(1, { max: 1_000 }).describe('further replicas during a rolling upgrade'),
  OIDC_ISSUERS: issuersField().describe(
    'trusted OpenID Connect issuers, as JSON: `[{"name","issuer","audience":[…]}]`',
  ),
  DRAIN_DELAY_MS: field
    .ms(3_000, { min: 0 })
    .describe('time between not ready and the close of the port, for load balancers that probe rarely'),
  LEGACY_EXPRESS_SESSION: z
    .string()
    .regex(/^redis:./, 'expected redis: and the key prefix of connect-redis, such as redis:sess:')
    .optional()
    .describe('imports sessions of express-session from this Redis, for example `redis:sess:`')
    .meta({ fallback: 'off' }),
  LEGACY_COOKIE_NAME: z
    .string()
    .regex(COOKIE_NAME, 'expected a cookie name')
    .default('connect.sid')
    .describe('cookie name of express-session'),
  LEGACY_SESSION_SECRETS: field
    .secrets({ min: 1 })
    .optional()
    .describe('signing secrets of express-session, comma-separated')
    .meta({ fallback: 'SESSION_SECRETS' }),
  LEGACY_USER_ID_PATH: field
    .text('user.id')
    .describe('path of the user id in the data of express-session, for example `passport.user`'),
  MIGRATE: field.onOff('on').describe('applies schema migrations at start'),
});

/** The configuration of the session service. */
export type SessionServiceConfig = ReturnType<typeof readConfig>;

/** Reads the configuration; throws ConfigError with every problem. */
export const readConfig = (env: NodeJS.ProcessEnv) => {
  const values = readSettings(settings, env);
  const publicUrl = new URL(values.publicUrl);
  const isSecure = publicUrl.protocol === 'https:';
  const config = {
    ...values,
    common: commonConfig(values),
    redis: redisConfig(values),
    postgres: postgresConfig(values),
    publicUrl: publicUrl.origin,
    cookie: {
      name: cookieNameFor(values.publicUrl, values.cookieName),
      secure: isSecure,
      embed: values.cookieEmbed,
    },
    allowedOrigins: values.allowedOrigins ?? [publicUrl.origin],
    /** `max`: live guest sessions per tenant. */
    guests: { enabled: values.guestSessions, max: values.maxGuestSessions },
    /** Per minute; 0 for no limit. */
    limits: {
      guests: values.guestLimitPerMinute,
      guestNetwork: values.guestLimitPerNetwork,
      guestTenant: values.guestLimitPerTenant,
      session: values.sessionLimitPerMinute,
      key: values.keyLimitPerMinute,
      failures: values.failureLimitPerMinute,
    },
    sweep: {
      intervalMs: values.sweepIntervalMs,
      endedDays: values.endedRetentionDays,
      guestHours: values.guestRetentionHours,
      eventDays: values.eventRetentionDays,
    },
    /** For the budget of database connections. */
    fleet: { replicas: values.expectedReplicas, surge: values.replicaSurge },
    /** Undefined unless sessions of express-session are imported. */
    legacy: values.legacyExpressSession
      ? {
          prefix: values.legacyExpressSession.slice('redis:'.length),
          cookieName: values.legacyCookieName,
          secrets: values.legacySessionSecrets ?? values.sessionSecrets,
          userField: values.legacyUserIdPath,
        }
      : undefined,
  };
  rejectProblems(problemsOf(config, publicUrl));
  return Object.freeze(config);
};

const problemsOf = (config: SessionServiceConfig, publicUrl: URL): string[] => {
  const { cookie } = config;
  const problems: string[] = [];
  const isProduction = config.nodeEnv === 'production';
  if (!cookie.secure && (isProduction || !LOOPBACK.test(publicUrl.hostname))) {
    problems.push('PUBLIC_URL: expected https; http is allowed on localhost with NODE_ENV=development only');
  }
  if (!cookie.secure && cookie.name.startsWith('__')) {
    problems.push('COOKIE_NAME: a prefix such as __Host- requires an https PUBLIC_URL');
  }
  if (cookie.embed && !cookie.secure) problems.push('COOKIE_EMBED: requires an https PUBLIC_URL');
  if (!isProduction) return problems;
  return [
    ...problems,
    ...issuerProblems(config.oidcIssuers),
    ...placeholderProblems({
      SESSION_SECRETS: config.sessionSecrets,
      SERVICE_API_KEYS: config.serviceApiKeys,
      INTERNAL_API_KEY: [config.internalApiKey],
    }),
  ];
};
