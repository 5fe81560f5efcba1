import { isNetwork } from '@muster/http/client-address';
import {
  type CommonConfig,
  ConfigError,
  commonConfig,
  commonSettings,
  field,
  isPlaceholderSecret,
  type PostgresConfig,
  postgresConfig,
  postgresSettings,
  type RedisConfig,
  readSettings,
  redisConfig,
  redisSettings,
} from '@muster/kit/config';
import { ceiling } from '@muster/kit/config-limits';
import { cookieNameFor } from '@muster/session/cookie';
import { createTenantHosts, type TenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import { type IssuerConfig, issuerProblems, issuersField } from './config-oidc.ts';
import { IP_MODES, type IpMode } from './core/ip-anonymization.ts';

const MIN_SECRET_BYTES = 32;
const MIN_KEY_BYTES = 16;
const COOKIE_NAME = /^[\w!#$%&'*+.^`|~-]{1,64}$/;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Every environment variable of the session service. */
export const settings = z.object({
  ...commonSettings({ port: 8100, opsPort: 9100 }),
  ...redisSettings,
  ...postgresSettings,
  SESSION_SECRETS: field
    .secrets({ min: MIN_SECRET_BYTES })
    .describe('keys that sign session tokens, at least 32 bytes each; the first signs, all are accepted'),
  SERVICE_API_KEYS: field
    .secrets({ min: MIN_KEY_BYTES })
    .describe('API keys of back ends with every scope, at least 16 bytes each'),
  INTERNAL_API_KEY: field
    .secret({ min: MIN_KEY_BYTES })
    .describe('key of the gateways for the internal plane on OPS_PORT'),
  PUBLIC_URL: field
    .url('http', 'https')
    .describe('address under which browsers reach the fleet; https unless it is this machine'),
  COOKIE_NAME: z
    .string()
    .regex(COOKIE_NAME, 'must be a cookie name')
    .optional()
    .describe('default: `__Host-session_id` on https, `session_id` on http'),
  COOKIE_EMBED: field
    .onOff('off')
    .describe('pages are embedded in foreign sites: `SameSite=None; Partitioned`, https only'),
  ALLOWED_ORIGINS: field
    .origins()
    .describe('origins whose pages may change things with a cookie; default: that of PUBLIC_URL'),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe(
      'hosts of tenants, such as `shop.example.com=shop`: there only sessions of that tenant count, and nowhere else do they',
    ),
  GUEST_SESSIONS: field.onOff('off').describe('let anybody open a session without an account'),
  GUEST_LIMIT_PER_MINUTE: field
    .count(60, { min: 1 })
    .describe('guest sessions that one address (IPv6: one /64) may open in a minute')
    .meta(
      ceiling(
        'guest sessions of an address per minute',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="guest"}',
        'GC1',
      ),
    ),
  GUEST_LIMIT_PER_NETWORK: field
    .count(300, { min: 1 })
    .describe('guest sessions that one network (IPv4 /24, IPv6 /48) may open in a minute')
    .meta(
      ceiling(
        'guest sessions of a network per minute',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="guest_network"}',
        'GC1',
      ),
    ),
  GUEST_LIMIT_PER_TENANT: field
    .count(3_000, { min: 1 })
    .describe('guest sessions that a tenant may open in a minute, in the whole fleet')
    .meta(
      ceiling(
        'guest sessions of a tenant per minute',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="guest_tenant"}',
        'GC1',
      ),
    ),
  MAX_GUEST_SESSIONS: field
    .count(100_000, { min: 1, max: 10_000_000 })
    .describe('guest sessions that a tenant may have at once')
    .meta(
      ceiling(
        'live guest sessions of a tenant',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="guest_total"}',
        'GC2',
      ),
    ),
  SESSION_LIMIT_PER_MINUTE: field
    .count(1_200)
    .describe('requests of one session to one replica in a minute; 0 for no limit')
    .meta(
      ceiling(
        'requests of a session per minute and replica',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="session"}',
        'SE42',
      ),
    ),
  KEY_LIMIT_PER_MINUTE: field
    .count(60_000)
    .describe('requests of one API key to one replica in a minute; 0 for no limit')
    .meta(
      ceiling(
        'requests of an API key per minute and replica',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="key"}',
        'SE42',
      ),
    ),
  FAILURE_LIMIT_PER_MINUTE: field
    .count(300)
    .describe('bad tokens and keys of one address at one replica in a minute; 0 for no limit')
    .meta(
      ceiling(
        'bad credentials of an address per minute and replica',
        '429 with `Retry-After`',
        'session_rate_limited_total{scope="failures"}',
        'SE42',
      ),
    ),
  SESSION_IP_MODE: z
    .enum(IP_MODES)
    .default('truncated')
    .describe('what is kept of addresses: `truncated` to /24 and /48, `full`, `hashed`, `none`'),
  TRUSTED_PROXIES: field
    .list()
    .describe('addresses or networks of load balancers whose `X-Forwarded-For` counts'),
  OUTBOX_POLL_MS: field.ms(500, { min: 50 }).describe('how often undelivered changes are looked for'),
  SWEEP_INTERVAL_MS: field
    .ms(5_000, { min: 50 })
    .describe('how often activity is written down and what is over is ended'),
  ENDED_RETENTION_DAYS: field
    .count(30, { min: 1, max: 3_650 })
    .describe('days after which ended sessions are deleted'),
  GUEST_RETENTION_HOURS: field
    .count(24, { min: 1, max: 87_600 })
    .describe('hours after which ended sessions of guests are deleted'),
  EVENT_RETENTION_DAYS: field
    .count(90, { min: 1, max: 3_650 })
    .describe('days after which a month of the log book is dropped'),
  EXPECTED_REPLICAS: field
    .count(1, { min: 1, max: 1_000 })
    .describe('how many session services run, for the budget of database connections'),
  REPLICA_SURGE: field
    .count(1, { max: 1_000 })
    .describe('how many more of them run while a new release rolls out'),
  OIDC_ISSUERS: issuersField().describe(
    'issuers whose tokens are believed, as JSON: `[{"name","issuer","audience":[…]}]`',
  ),
  DRAIN_DELAY_MS: field
    .ms(3_000, { min: 0 })
    .describe('pause between "not ready" and closing the port, for load balancers that look seldom'),
  LEGACY_EXPRESS_SESSION: z
    .string()
    .regex(/^redis:./, 'must be redis: and the key prefix of connect-redis, such as redis:sess:')
    .optional()
    .describe(
      'take over sessions of express-session from this Redis, such as `redis:sess:`; off when absent',
    ),
  LEGACY_COOKIE_NAME: z
    .string()
    .regex(COOKIE_NAME, 'must be a cookie name')
    .default('connect.sid')
    .describe('cookie of express-session'),
  LEGACY_SESSION_SECRETS: field
    .secrets({ min: 1 })
    .optional()
    .describe('keys that signed their cookies, of any length; default: SESSION_SECRETS'),
  LEGACY_USER_ID_PATH: field
    .text('user.id')
    .describe('where in their data the id of the user is, such as `passport.user`'),
  MIGRATE: field.onOff('on').describe('bring the schema up to date at start'),
});

/** The configuration of the session service. */
export interface SessionServiceConfig {
  readonly common: CommonConfig;
  readonly redis: RedisConfig;
  readonly postgres: PostgresConfig;
  readonly sessionSecrets: readonly string[];
  readonly serviceApiKeys: readonly string[];
  readonly internalApiKey: string;
  readonly publicUrl: string;
  readonly cookie: { readonly name: string; readonly secure: boolean; readonly embed: boolean };
  readonly allowedOrigins: readonly string[];
  readonly tenantHosts: TenantHosts;
  readonly guests: {
    readonly enabled: boolean;
    /** Live guest sessions per tenant. */
    readonly max: number;
  };
  /** Per minute; 0 for no limit. */
  readonly limits: {
    readonly guests: number;
    readonly guestNetwork: number;
    readonly guestTenant: number;
    readonly session: number;
    readonly key: number;
    readonly failures: number;
  };
  readonly ipMode: IpMode;
  readonly trustedProxies: readonly string[];
  readonly outboxPollMs: number;
  readonly sweep: {
    readonly intervalMs: number;
    readonly endedDays: number;
    readonly guestHours: number;
    readonly eventDays: number;
  };
  /** For the budget of database connections. */
  readonly fleet: { readonly replicas: number; readonly surge: number };
  readonly oidcIssuers: readonly IssuerConfig[];
  readonly drainDelayMs: number;
  readonly legacy:
    | {
        readonly prefix: string;
        readonly cookieName: string;
        readonly secrets: readonly string[];
        readonly userField: string;
      }
    | undefined;
  readonly migrate: boolean;
}

/** Reads the configuration; throws ConfigError naming every problem. */
export const readConfig = (env: NodeJS.ProcessEnv): SessionServiceConfig => {
  const parsed = readSettings(settings, env);
  const publicUrl = new URL(parsed.PUBLIC_URL);
  const secure = publicUrl.protocol === 'https:';
  const config: SessionServiceConfig = {
    common: commonConfig(parsed),
    redis: redisConfig(parsed),
    postgres: postgresConfig(parsed),
    sessionSecrets: parsed.SESSION_SECRETS,
    serviceApiKeys: parsed.SERVICE_API_KEYS,
    internalApiKey: parsed.INTERNAL_API_KEY,
    publicUrl: publicUrl.origin,
    cookie: {
      name: cookieNameFor(parsed.PUBLIC_URL, parsed.COOKIE_NAME),
      secure,
      embed: parsed.COOKIE_EMBED,
    },
    allowedOrigins: parsed.ALLOWED_ORIGINS ?? [publicUrl.origin],
    tenantHosts: parsed.TENANT_HOSTS,
    guests: { enabled: parsed.GUEST_SESSIONS, max: parsed.MAX_GUEST_SESSIONS },
    limits: {
      guests: parsed.GUEST_LIMIT_PER_MINUTE,
      guestNetwork: parsed.GUEST_LIMIT_PER_NETWORK,
      guestTenant: parsed.GUEST_LIMIT_PER_TENANT,
      session: parsed.SESSION_LIMIT_PER_MINUTE,
      key: parsed.KEY_LIMIT_PER_MINUTE,
      failures: parsed.FAILURE_LIMIT_PER_MINUTE,
    },
    ipMode: parsed.SESSION_IP_MODE,
    trustedProxies: parsed.TRUSTED_PROXIES,
    outboxPollMs: parsed.OUTBOX_POLL_MS,
    sweep: {
      intervalMs: parsed.SWEEP_INTERVAL_MS,
      endedDays: parsed.ENDED_RETENTION_DAYS,
      guestHours: parsed.GUEST_RETENTION_HOURS,
      eventDays: parsed.EVENT_RETENTION_DAYS,
    },
    fleet: { replicas: parsed.EXPECTED_REPLICAS, surge: parsed.REPLICA_SURGE },
    oidcIssuers: parsed.OIDC_ISSUERS,
    drainDelayMs: parsed.DRAIN_DELAY_MS,
    legacy: parsed.LEGACY_EXPRESS_SESSION
      ? {
          prefix: parsed.LEGACY_EXPRESS_SESSION.slice('redis:'.length),
          cookieName: parsed.LEGACY_COOKIE_NAME,
          secrets: parsed.LEGACY_SESSION_SECRETS ?? parsed.SESSION_SECRETS,
          userField: parsed.LEGACY_USER_ID_PATH,
        }
      : undefined,
    migrate: parsed.MIGRATE,
  };
  const problems = problemsOf(config, publicUrl);
  if (problems.length > 0) {
    throw new ConfigError(`Bad configuration:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
  return Object.freeze(config);
};

const problemsOf = (config: SessionServiceConfig, publicUrl: URL): string[] => {
  const problems: string[] = [];
  const isProduction = config.common.environment === 'production';
  if (!config.cookie.secure && (isProduction || !LOOPBACK.test(publicUrl.hostname))) {
    problems.push(
      'PUBLIC_URL: a session cookie over plain http is for this machine and NODE_ENV=development only',
    );
  }
  if (!config.cookie.secure && config.cookie.name.startsWith('__')) {
    problems.push('COOKIE_NAME: names with a prefix such as __Host- need an https PUBLIC_URL');
  }
  for (const one of config.trustedProxies) {
    if (!isNetwork(one))
      problems.push(`TRUSTED_PROXIES: ${one}: expected an address or a network such as 10.0.0.0/8`);
  }
  problems.push(...issuerProblems(config.oidcIssuers, isProduction));
  if (config.cookie.embed && !config.cookie.secure) {
    problems.push('COOKIE_EMBED: browsers take such cookies over https only');
  }
  const secrets: [string, readonly string[]][] = [
    ['SESSION_SECRETS', config.sessionSecrets],
    ['SERVICE_API_KEYS', config.serviceApiKeys],
    ['INTERNAL_API_KEY', [config.internalApiKey]],
  ];
  for (const [name, values] of secrets) {
    if (isProduction && values.some(isPlaceholderSecret)) {
      problems.push(`${name}: looks like an example; put a random value there`);
    }
  }
  return problems;
};
