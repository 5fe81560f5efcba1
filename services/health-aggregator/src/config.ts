import {
  type CommonConfig,
  commonConfig,
  commonSettings,
  field,
  type RedisConfig,
  readSettings,
  redisConfig,
  redisSettings,
} from '@muster/kit/config';
import { ceiling } from '@muster/kit/config-limits';
import { createTenantHosts, type TenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import { parseTargetSource, type TargetSource } from './clients/target-discovery.ts';

const EXPECTATION = /^[a-z0-9-]{1,64}=\d{1,5}$/;

/** Every environment variable of the health aggregator. */
export const settings = z.object({
  ...commonSettings({ port: 8300, opsPort: 9300 }),
  ...redisSettings,
  EXPECTED: z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .refine(
      (parts) => parts.every((part) => EXPECTATION.test(part)),
      'must be a list such as `session-service=1,ws-gateway=2`',
    )
    .default(['session-service=1', 'ws-gateway=1', 'health-aggregator=1'])
    .describe('services that must be there and how many of each at least; others are found by themselves'),
  TARGETS: field
    .list()
    .transform((parts) => parts.map((part) => parseTargetSource(part)))
    .refine(
      (leads) => leads.every((lead) => lead !== undefined),
      'must be a list such as `ws-gateway=10.0.0.5:8200,ws-gateway=gateways.svc:8200,ws-gateway=srv:_ws._tcp.svc`',
    )
    .describe(
      'where instances should be: addresses, names, SRV records; whoever is there and does not beat is shown as unregistered',
    ),
  STALE_AFTER_MS: field
    .ms(15_000, { min: 1_000 })
    .describe('older evidence is shown as `unknown`, never as good'),
  PROBE_INTERVAL_MS: field
    .ms(2_000, { min: 100 })
    .describe('time between two probes of an instance that is well'),
  PROBE_TIMEOUT_MS: field.ms(1_000, { min: 50 }).describe('longest wait for the answer to a probe'),
  WEBSOCKET_PROBE_INTERVAL_MS: field
    .ms(15_000, { min: 1_000 })
    .describe('time between two WebSockets that are opened at a gateway, to see that it does'),
  MAX_EVENT_STREAMS: field
    .count(1_000, { min: 1, max: 100_000 })
    .describe('open `/v1/fleet/events` streams; further ones get 503')
    .meta(
      ceiling(
        'open event streams',
        '503 with `Retry-After`',
        'http_server_refusals_total{code="OVERLOADED"}',
        'FE2',
      ),
    ),
  LEADER_LEASE_MS: field
    .ms(6_000, { min: 300 })
    .describe(
      'how long an aggregator that says nothing goes on leading; another takes over a third later at most',
    ),
  INCIDENT_AFTER_MS: field
    .ms(5_000, { min: 100 })
    .describe(
      'an outage that lasts so long is an incident; being degraded must last, and a recovery hold, six times as long',
    ),
  WEBHOOK_URLS: field
    .list()
    .refine(
      (urls) => urls.every((url) => /^https?:\/\//.test(url) && URL.canParse(url)),
      'must be a list of http:// or https:// addresses',
    )
    .describe('addresses that hear of incidents: opened, updated, closed; comma-separated'),
  WEBHOOK_SECRET: field.secret({ min: 16 }).optional().describe('signs webhooks; at least 16 bytes'),
  OPS_TOKEN: field
    .secret({ min: 16 })
    .optional()
    .describe('lets operators drain and resume instances; at least 16 bytes; without it nobody may'),
  SYNTHETIC_CHECK: field
    .onOff('on')
    .describe('send a client through the fleet again and again; needs `SERVICE_API_KEYS`'),
  SYNTHETIC_CHECK_INTERVAL_MS: field.ms(10_000, { min: 1_000 }).describe('time between two journeys'),
  SERVICE_API_KEYS: field
    .secrets({ min: 16 })
    .optional()
    .describe('keys of the session service; the first one opens sessions of journeys and asks for operators'),
  SERVER_API_KEYS: field
    .secrets({ min: 16 })
    .optional()
    .describe('keys of the server API of the gateways; with the first one operators look into groups'),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe(
      'hosts of tenants, as the gateways have them: tails and journeys connect as to a host of theirs',
    ),
  PLAYGROUND: field.onOff('on').describe('show the “Try it” chat on the console page'),
});

/** The configuration of the health aggregator. */
export interface AggregatorConfig {
  readonly common: CommonConfig;
  readonly redis: RedisConfig;
  readonly expected: Readonly<Record<string, number>>;
  readonly targets: readonly TargetSource[];
  readonly staleAfterMs: number;
  readonly probeIntervalMs: number;
  readonly probeTimeoutMs: number;
  readonly websocketProbeIntervalMs: number;
  readonly maxEventStreams: number;
  readonly leaderLeaseMs: number;
  readonly incidentAfterMs: number;
  readonly webhookUrls: readonly string[];
  readonly webhookSecret: string | undefined;
  readonly opsToken: string | undefined;
  /** Undefined when there are no journeys. */
  readonly syntheticCheckKey: string | undefined;
  /** For operators; without it they cannot look into sessions. */
  readonly serviceApiKey: string | undefined;
  /** For operators; without it they cannot look into groups. */
  readonly serverApiKey: string | undefined;
  readonly tenantHosts: TenantHosts;
  readonly syntheticCheckIntervalMs: number;
  readonly hasPlayground: boolean;
}

/** Reads the configuration; throws ConfigError naming every problem. */
export const readConfig = (env: NodeJS.ProcessEnv): AggregatorConfig => {
  const parsed = readSettings(settings, env);
  return Object.freeze({
    common: commonConfig(parsed),
    redis: redisConfig(parsed),
    expected: Object.fromEntries(
      parsed.EXPECTED.map((part) => {
        const [service = '', count] = part.split('=');
        return [service, Number(count)];
      }),
    ),
    targets: parsed.TARGETS.filter((lead) => lead !== undefined),
    staleAfterMs: parsed.STALE_AFTER_MS,
    probeIntervalMs: parsed.PROBE_INTERVAL_MS,
    probeTimeoutMs: parsed.PROBE_TIMEOUT_MS,
    websocketProbeIntervalMs: parsed.WEBSOCKET_PROBE_INTERVAL_MS,
    maxEventStreams: parsed.MAX_EVENT_STREAMS,
    leaderLeaseMs: parsed.LEADER_LEASE_MS,
    incidentAfterMs: parsed.INCIDENT_AFTER_MS,
    webhookUrls: parsed.WEBHOOK_URLS,
    webhookSecret: parsed.WEBHOOK_SECRET,
    opsToken: parsed.OPS_TOKEN,
    syntheticCheckKey: parsed.SYNTHETIC_CHECK ? parsed.SERVICE_API_KEYS?.[0] : undefined,
    serviceApiKey: parsed.SERVICE_API_KEYS?.[0],
    serverApiKey: parsed.SERVER_API_KEYS?.[0],
    tenantHosts: parsed.TENANT_HOSTS,
    syntheticCheckIntervalMs: parsed.SYNTHETIC_CHECK_INTERVAL_MS,
    hasPlayground: parsed.PLAYGROUND,
  });
};
