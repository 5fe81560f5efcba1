import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';
import { LOG_LEVELS, type LogLevel } from './logger.ts';
import { isPostgresUrl, POSTGRES_URL_FORM } from './postgres-address.ts';
import { parseRedisUrl, REDIS_URL_FORMS } from './redis/address.ts';

/** The process cannot start like this. The message lists every problem by variable name and shows no value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const DAY_MS = 86_400_000;
const PLACEHOLDER = /^(change[-_ ]?me|secret|password|example|development|test)/i;
const ON = ['on', 'true', '1', 'yes'];
const OFF = ['off', 'false', '0', 'no'];

const number = (kind: string, unit: string, min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be ${kind} in ${unit}`)
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

/** The kinds of environment variables that services have: text in, checked value out. */
export const field = {
  /** Milliseconds. */
  ms: (fallback: number, { min = 1, max = 30 * DAY_MS } = {}) =>
    number('a whole number', 'milliseconds', min, max).default(fallback),
  /** Bytes. */
  bytes: (fallback: number, { min = 1, max = 2 ** 31 } = {}) =>
    number('a whole number', 'bytes', min, max).default(fallback),
  /** A count of things. */
  count: (fallback: number, { min = 0, max = 10_000_000 } = {}) =>
    number('a whole number', 'units', min, max).default(fallback),
  /** A TCP port; 0 takes any free one. */
  port: (fallback: number) => number('a port', 'the range 0 to 65535', 0, 65_535).default(fallback),
  /** `on` or `off` (also true/false, 1/0, yes/no). */
  onOff: (fallback: 'on' | 'off') =>
    z
      .string()
      .toLowerCase()
      .refine((text) => ON.includes(text) || OFF.includes(text), 'must be on or off')
      .transform((text) => ON.includes(text))
      .default(fallback === 'on'),
  /** An absolute URL with one of the given schemes. */
  url: (...schemes: readonly string[]) =>
    z
      .string()
      .refine((text) => schemes.some((scheme) => text.startsWith(`${scheme}://`)) && URL.canParse(text), {
        error: `must be a URL that starts with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`,
      }),
  /** Comma-separated absolute URLs, at least one. */
  urls: (...schemes: readonly string[]) =>
    z
      .string()
      .transform(splitList)
      .refine(
        (urls) =>
          urls.length > 0 &&
          urls.every((url) => schemes.some((one) => url.startsWith(`${one}://`)) && URL.canParse(url)),
        `must be one or more URLs that start with ${schemes.map((one) => `${one}://`).join(' or ')}`,
      ),
  /** Comma-separated words. */
  list: (fallback: readonly string[] = []) =>
    z
      .string()
      .transform(splitList)
      .default([...fallback]),
  /** Comma-separated words of which `make` makes something; what it throws is the problem that is told. */
  listAs: <T>(make: (words: readonly string[]) => T) =>
    z
      .string()
      .default('')
      .transform((text, context) => {
        try {
          return make(splitList(text));
        } catch (error) {
          context.addIssue({ code: 'custom', message: (error as Error).message });
          return z.NEVER;
        }
      }),
  /** Comma-separated exact origins, such as `https://app.example.com`. */
  origins: () =>
    z
      .string()
      .transform(splitList)
      .refine(
        (origins) => origins.every(isOrigin),
        'must be a list of origins (scheme://host[:port], no path)',
      )
      .optional(),
  /** Comma-separated secrets, the newest first; each at least `min` bytes. */
  secrets: ({ min }: { min: number }) =>
    z
      .string()
      .transform(splitList)
      .refine((secrets) => secrets.length > 0, 'needs at least one value')
      .refine(
        (secrets) => secrets.every((one) => Buffer.byteLength(one) >= min),
        `each value needs at least ${min} bytes`,
      ),
  /** One secret of at least `min` bytes. */
  secret: ({ min }: { min: number }) =>
    z.string().refine((text) => Buffer.byteLength(text) >= min, `needs at least ${min} bytes`),
  /** Free text. */
  text: (fallback: string) => z.string().min(1, 'must not be empty').default(fallback),
};

/** True when the text is exactly what a browser sends as `Origin` (RFC 6454 §6.2): scheme, host, optional port. */
export const isOrigin = (text: string): boolean => URL.canParse(text) && new URL(text).origin === text;

/** True for values that were meant to be replaced, such as those of our examples. */
export const isPlaceholderSecret = (text: string): boolean =>
  PLACEHOLDER.test(text) || /example|changeme|insecure/i.test(text) || new Set(text).size < 8;

/** Variables that every service has. */
export const commonSettings = (ports: { port: number; opsPort: number }) => ({
  NODE_ENV: z
    .enum(['production', 'development', 'test'])
    .default('production')
    .describe('`production` refuses example secrets and plain-http cookies'),
  HOST: field.text('127.0.0.1').describe('address to listen on; `0.0.0.0` in a container'),
  PORT: field.port(ports.port).describe('public port'),
  OPS_PORT: field
    .port(ports.opsPort)
    .describe('port for metrics, probes and internal calls; never expose it'),
  ADVERTISE_HOST: z
    .string()
    .optional()
    .describe(
      'host under which other processes reach this one; default: HOST, or the host name when HOST is a wildcard',
    ),
  INSTANCE_NAME: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('stable label of this replica; default: host name and port'),
  FLEET_NAME: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, 'must be 1 to 32 of a-z, 0-9 and -')
    .default('muster')
    .describe('replicas of one fleet share this name'),
  LOG_LEVEL: z.enum(LOG_LEVELS).default('info').describe('`debug`, `info`, `warn`, `error` or `silent`'),
  READINESS_POLICY: z
    .enum(['degraded', 'strict'])
    .default('degraded')
    .describe('`strict` is unready while a dependency is away; `degraded` stays ready, and says so'),
  AGGREGATOR_URLS: field
    .urls('http', 'https')
    .optional()
    .describe(
      'health aggregators, comma-separated: a replica that alone cannot reach a store asks them, and leaves the pool',
    ),
  LOCAL_FAULT_AFTER_MS: field
    .ms(10_000, { min: 100 })
    .describe('how long a store must be away before a replica asks whether it is the only one'),
  DRAIN_TIMEOUT_MS: field
    .ms(30_000)
    .describe('longest graceful shutdown after SIGTERM, then connections are cut'),
  HEARTBEAT_INTERVAL_MS: field.ms(2_000, { min: 50 }).describe('time between two beats in the registry'),
  HEARTBEAT_TTL_MS: field.ms(7_000, { min: 150 }).describe('a replica whose beat is older than this is gone'),
});

/** Variables of every service that uses Redis. */
export const redisSettings = {
  REDIS_URL: z
    .string()
    .refine((text) => parseRedisUrl(text) !== undefined, `must be ${REDIS_URL_FORMS}`)
    .describe(REDIS_URL_FORMS),
  REDIS_SENTINEL_PASSWORD: z.string().optional().describe('password of the sentinels, where they have one'),
  REDIS_PREFIX: field.text('muster:').describe('starts every key and channel; the same for the whole fleet'),
  REDIS_MAX_CONNECTIONS: field
    .count(20, { min: 2, max: 1_000 })
    .describe('hard cap of connections per process; on a cluster to each of its nodes'),
  REDIS_CONNECT_TIMEOUT_MS: field.ms(5_000).describe('longest connection attempt'),
  REDIS_COMMAND_TIMEOUT_MS: field.ms(1_000).describe('longest wait for an answer'),
};

/** Variables of every service that uses Postgres. */
export const postgresSettings = {
  DATABASE_URL: z
    .string()
    .refine(isPostgresUrl, `must be ${POSTGRES_URL_FORM}`)
    .describe('`postgres://user:password@host:port/database`'),
  PG_POOL_SIZE: field.count(10, { min: 1, max: 1_000 }).describe('connections kept open'),
  PG_MAX_OVERFLOW: field
    .count(5, { max: 1_000 })
    .describe('further connections in a burst, closed when idle'),
  PG_POOL_TIMEOUT_MS: field
    .ms(30_000)
    .describe('longest wait for a connection; requests give up earlier, after 2 s'),
  PG_PREPARED_STATEMENTS: field
    .onOff('on')
    .describe('named prepared statements; `off` for a pooler that does not keep them, PgBouncer before 1.21'),
};

/** {@link commonSettings}, parsed. */
export interface CommonConfig {
  readonly environment: 'production' | 'development' | 'test';
  readonly host: string;
  readonly port: number;
  readonly opsPort: number;
  readonly advertiseHost: string;
  readonly instanceName: string;
  readonly fleetName: string;
  readonly logLevel: LogLevel;
  /** Unready while a dependency is away. */
  readonly isStrict: boolean;
  /** Base URLs of aggregators; empty when nobody is to be asked. */
  readonly aggregatorUrls: readonly string[];
  readonly localFaultAfterMs: number;
  readonly drainTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly heartbeatTtlMs: number;
}

/** {@link redisSettings}, parsed. */
export interface RedisConfig {
  /** One of {@link REDIS_URL_FORMS}. */
  readonly url: string;
  readonly sentinelPassword?: string | undefined;
  readonly prefix: string;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
}

/** {@link postgresSettings}, parsed. */
export interface PostgresConfig {
  readonly url: string;
  readonly poolSize: number;
  readonly maxOverflow: number;
  readonly poolTimeoutMs: number;
  readonly preparedStatements: boolean;
}

type Parsed<S extends z.ZodRawShape> = z.output<z.ZodObject<S>>;

/** The common part of a parsed schema. */
export const commonConfig = (parsed: Parsed<ReturnType<typeof commonSettings>>): CommonConfig => ({
  environment: parsed.NODE_ENV,
  host: parsed.HOST,
  port: parsed.PORT,
  opsPort: parsed.OPS_PORT,
  advertiseHost: parsed.ADVERTISE_HOST ?? (isWildcard(parsed.HOST) ? hostname() : parsed.HOST),
  instanceName: parsed.INSTANCE_NAME ?? `${hostname()}:${parsed.PORT}`,
  fleetName: parsed.FLEET_NAME,
  logLevel: parsed.LOG_LEVEL,
  isStrict: parsed.READINESS_POLICY === 'strict',
  aggregatorUrls: parsed.AGGREGATOR_URLS ?? [],
  localFaultAfterMs: parsed.LOCAL_FAULT_AFTER_MS,
  drainTimeoutMs: parsed.DRAIN_TIMEOUT_MS,
  heartbeatIntervalMs: parsed.HEARTBEAT_INTERVAL_MS,
  heartbeatTtlMs: parsed.HEARTBEAT_TTL_MS,
});

const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** The Redis part of a parsed schema. */
export const redisConfig = (parsed: Parsed<typeof redisSettings>): RedisConfig => ({
  url: parsed.REDIS_URL,
  sentinelPassword: parsed.REDIS_SENTINEL_PASSWORD,
  prefix: parsed.REDIS_PREFIX,
  maxConnections: parsed.REDIS_MAX_CONNECTIONS,
  connectTimeoutMs: parsed.REDIS_CONNECT_TIMEOUT_MS,
  commandTimeoutMs: parsed.REDIS_COMMAND_TIMEOUT_MS,
});

/** The Postgres part of a parsed schema. */
export const postgresConfig = (parsed: Parsed<typeof postgresSettings>): PostgresConfig => ({
  url: parsed.DATABASE_URL,
  poolSize: parsed.PG_POOL_SIZE,
  maxOverflow: parsed.PG_MAX_OVERFLOW,
  poolTimeoutMs: parsed.PG_POOL_TIMEOUT_MS,
  preparedStatements: parsed.PG_PREPARED_STATEMENTS,
});

/**
 * Reads the variables that the schema names; `NAME_FILE` gives the content of a file, for mounted secrets.
 * An empty variable counts as absent. Throws {@link ConfigError} naming every problem at once.
 */
export const readSettings = <S extends z.ZodObject>(schema: S, env: NodeJS.ProcessEnv): z.output<S> => {
  const problems: string[] = [];
  const given: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const value = readVariable(name, env, problems);
    if (value !== undefined) given[name] = value;
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = issue.path.join('.') || 'configuration';
      problems.push(
        `${name}: ${given[name] === undefined && issue.path.length > 0 ? 'is required' : issue.message}`,
      );
    }
  }
  if (!parsed.success || problems.length > 0) {
    throw new ConfigError(`Bad configuration:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
  return parsed.data;
};

const readVariable = (name: string, env: NodeJS.ProcessEnv, problems: string[]): string | undefined => {
  const value = env[name] === '' ? undefined : env[name];
  const file = env[`${name}_FILE`];
  if (file === undefined || file === '') return value;
  if (value !== undefined) {
    problems.push(`${name}: give ${name} or ${name}_FILE, not both`);
    return value;
  }
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    problems.push(
      `${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`,
    );
    return undefined;
  }
};

/** One line per variable for `--help`: name, default, meaning. */
export const describeSettings = (schema: z.ZodObject): string =>
  Object.entries(schema.shape)
    .map(([name, type]) => {
      const fallback = type instanceof z.ZodDefault ? JSON.stringify(type.def.defaultValue) : undefined;
      const need = fallback ?? (type instanceof z.ZodOptional ? 'optional' : 'required');
      return `  ${name.padEnd(28)} ${need.padEnd(16)} ${(type as z.ZodType).description ?? ''}`;
    })
    .join('\n');
