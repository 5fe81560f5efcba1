import { hostname } from 'node:os';
import { z } from 'zod';
import { pickSettings, type SettingValues } from './config.ts';
import { field } from './config-fields.ts';
import { LOG_LEVELS } from './logger.ts';
import { parseRedisUrl, REDIS_URL_FORMS } from './redis/address.ts';

/** Variables of every service. */
export const commonSettings = (ports: { port: number; opsPort: number }) => ({
  NODE_ENV: z
    .enum(['production', 'development', 'test'])
    .default('production')
    .describe('`production`, `development` or `test`; production refuses example secrets and insecure options'),
  HOST: field.text('127.0.0.1').describe('listen address; `0.0.0.0` in a container'),
  PORT: field.port(ports.port).describe('public port'),
  OPS_PORT: field
    .port(ports.opsPort)
    .describe('port of metrics, probes and the internal plane; must not be reachable from outside'),
  ADVERTISE_HOST: z
    .string()
    .optional()
    .describe('host under which other processes reach this process')
    .meta({ fallback: 'HOST; the host name if HOST is a wildcard' }),
  INSTANCE_NAME: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('stable name of this replica, 1 to 128 characters; clients of a gateway see it')
    .meta({ fallback: 'host name and port' }),
  FLEET_NAME: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, 'expected 1 to 32 of a-z, 0-9 and -')
    .default('muster')
    .describe('name of the fleet, the same for all its replicas: 1 to 32 of a-z, 0-9 and -'),
  LOG_LEVEL: z
    .enum(LOG_LEVELS)
    .default('info')
    .describe('lowest level that is logged: `debug`, `info`, `warn`, `error` or `silent`'),
  READINESS_POLICY: z
    .enum(['degraded', 'strict'])
    .default('degraded')
    .describe('readiness while a dependency is down: `degraded` stays ready, `strict` does not'),
  AGGREGATOR_URLS: field
    .urls('http', 'https')
    .default([])
    .describe(
      'URLs of health aggregators, comma-separated; they decide whether a replica with a local fault becomes unready',
    ),
  LOCAL_FAULT_AFTER_MS: field
    .ms(10_000, { min: 100 })
    .describe('time for which a dependency is down before an aggregator is queried'),
  DRAIN_TIMEOUT_MS: field
    .ms(30_000)
    .describe('longest graceful shutdown after SIGTERM; remaining connections are then closed'),
  HEARTBEAT_INTERVAL_MS: field.ms(2_000, { min: 50 }).describe('interval of heartbeats to the registry'),
  HEARTBEAT_TTL_MS: field
    .ms(7_000, { min: 150 })
    .describe('age of the last heartbeat after which a replica counts as lost'),
});

/** Variables of every service that uses Redis. */
export const redisSettings = {
  REDIS_URL: z
    .string()
    .refine((text) => parseRedisUrl(text) !== undefined, `expected ${REDIS_URL_FORMS}`)
    .describe(REDIS_URL_FORMS),
  REDIS_SENTINEL_PASSWORD: z.string().optional().describe('password of the sentinels, if they require one'),
  REDIS_PREFIX: field.text('muster:').describe('prefix of every key and Redis channel, the same for the whole fleet'),
  REDIS_MAX_CONNECTIONS: field
    .count(20, { min: 2, max: 1_000 })
    .describe('most connections per process; in a cluster, per process and node'),
  REDIS_CONNECT_TIMEOUT_MS: field.ms(5_000).describe('timeout of a connection attempt'),
  REDIS_COMMAND_TIMEOUT_MS: field.ms(1_000).describe('timeout of a command'),
};

const COMMON = commonSettings({ port: 0, opsPort: 0 });

/** {@link commonSettings} with their computed defaults. */
export type CommonConfig = ReturnType<typeof commonConfig>;
export const commonConfig = (values: SettingValues<typeof COMMON>) => {
  const { host, port, readinessPolicy } = values;
  return {
    ...pickSettings(values, COMMON, ''),
    advertiseHost: values.advertiseHost ?? (isWildcard(host) ? hostname() : host),
    instanceName: values.instanceName ?? `${hostname()}:${port}`,
    /** Unready while a dependency is down. */
    isStrict: readinessPolicy === 'strict',
  };
};

const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** {@link redisSettings} without their prefix: `url`, `maxConnections`, … */
export type RedisConfig = ReturnType<typeof redisConfig>;
export const redisConfig = (values: SettingValues<typeof redisSettings>) =>
  pickSettings(values, redisSettings, 'REDIS_');
