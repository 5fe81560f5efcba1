import { readSettings } from '@muster/kit/config';
import { commonConfig, commonSettings, redisConfig, redisSettings } from '@muster/kit/config-common';
import { ceiling, field } from '@muster/kit/config-fields';
import { createTenantHosts } from '@muster/session/tenant-hosts';
import { z } from 'zod';
import { parseTargetSource } from './clients/target-discovery.ts';

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
      'expected a list such as `session-service=1,ws-gateway=2`',
    )
    .default(['session-service=1', 'ws-gateway=1', 'health-aggregator=1'])
    .describe('services and the least number of their instances; other services are discovered'),
  TARGETS: field
    .list()
    .transform((parts) => parts.map((part) => parseTargetSource(part)))
    .refine(
      (sources) => sources.every((source) => source !== undefined),
      'expected a list such as `ws-gateway=10.0.0.5:8200,ws-gateway=gateways.svc:8200,ws-gateway=srv:_ws._tcp.svc`',
    )
    .describe(
      'addresses, host names and SRV records of instances, comma-separated; an instance there without a heartbeat is shown as unregistered',
    ),
  STALE_AFTER_MS: field.ms(15_000, { min: 1_000 }).describe('age of an observation after which it counts as `unknown`'),
  PROBE_INTERVAL_MS: field
    .ms(2_000, { min: 100 })
    .describe('interval of HTTP probes of a healthy instance; a quarter of it after a failure'),
  PROBE_TIMEOUT_MS: field.ms(1_000, { min: 50 }).describe('timeout of an HTTP probe'),
  WEBSOCKET_PROBE_INTERVAL_MS: field.ms(15_000, { min: 1_000 }).describe('interval of WebSocket probes of a gateway'),
  MAX_EVENT_STREAMS: field
    .count(1_000, { min: 1, max: 100_000 })
    .describe('open `/v1/fleet/events` streams; further requests are answered 503')
    .meta(
      ceiling('open event streams', '503 with `Retry-After`', 'http_server_refusals_total{code="OVERLOADED"}', 'FE2'),
    ),
  LEADER_LEASE_MS: field
    .ms(6_000, { min: 300 })
    .describe('lifetime of the leader lease; without renewal another aggregator takes over after at most a third more'),
  INCIDENT_AFTER_MS: field
    .ms(5_000, { min: 100 })
    .describe(
      'duration of an outage after which an incident is opened; degradation and recovery must last six times as long',
    ),
  WEBHOOK_URLS: field
    .list()
    .refine(
      (urls) => urls.every((url) => /^https?:\/\//.test(url) && URL.canParse(url)),
      'expected a list of http:// or https:// addresses',
    )
    .describe('URLs that are notified when an incident is opened, updated or closed, comma-separated'),
  WEBHOOK_SECRET: field.secret({ min: 16 }).optional().describe('HMAC secret of webhook signatures, at least 16 bytes'),
  OPS_TOKEN: field
    .secret({ min: 16 })
    .optional()
    .describe('token of operators, at least 16 bytes; without it every operator request is rejected'),
  SYNTHETIC_CHECK: field
    .onOff('on')
    .describe('runs a client through the fleet periodically; requires SERVICE_API_KEYS'),
  SYNTHETIC_CHECK_INTERVAL_MS: field.ms(10_000, { min: 1_000 }).describe('interval of synthetic checks'),
  SERVICE_API_KEYS: field
    .secrets({ min: 16 })
    .optional()
    .describe(
      'API keys of the session service, at least 16 bytes each; the first is used for synthetic checks and operators',
    ),
  SERVER_API_KEYS: field
    .secrets({ min: 16 })
    .optional()
    .describe('keys of the server API of the gateways, at least 16 bytes each; the first is used for operators'),
  TENANT_HOSTS: field
    .listAs(createTenantHosts)
    .describe('hosts of tenants, the same as in the gateways; used by group streams and synthetic checks'),
  REBALANCE: z
    .enum(['on', 'off', 'dry-run'])
    .default('on')
    .describe(
      'moves clients from full gateways to emptier gateways: `on`, `off`, or `dry-run`, which only records decisions',
    ),
  REBALANCE_AFTER_MS: field
    .ms(60_000, { min: 1_000 })
    .describe('duration of an imbalance after which clients are moved; younger connections stay'),
  REBALANCE_SETTLE_MS: field
    .ms(120_000, { min: 1_000 })
    .describe('time without a gateway that joins or leaves, before clients are moved'),
  REBALANCE_MOVES_PER_S: field
    .count(100, { min: 1, max: 10_000 })
    .describe('highest rate of moves in the fleet, per second'),
  REBALANCE_COOLDOWN_MS: field
    .ms(3_600_000, { min: 1_000 })
    .describe('time for which a client is not moved again, and nothing is moved after moves without effect'),
  POD_DELETION_COST: field
    .onOff('off')
    .describe(
      'writes the connections of each gateway to the annotation `controller.kubernetes.io/pod-deletion-cost` of its pod, so that a scale-in removes the emptiest first; requires the component `pod-deletion-cost`',
    ),
  POD_DELETION_COST_INTERVAL_MS: field
    .ms(300_000, { min: 1_000 })
    .describe('shortest time between two updates of the deletion costs'),
  KUBERNETES_API_URL: field
    .url('https')
    .default('https://kubernetes.default.svc')
    .describe('URL of the API server of the cluster'),
  KUBERNETES_CREDENTIALS_DIR: field
    .text('/var/run/secrets/kubernetes.io/serviceaccount')
    .describe('directory with the files `token`, `ca.crt` and `namespace` of the service account'),
  PLAYGROUND: field.onOff('on').describe('shows the playground of the console'),
});

/** The configuration of the health aggregator. */
export type AggregatorConfig = ReturnType<typeof readConfig>;

/** Reads the configuration; throws ConfigError with every problem. */
export const readConfig = (env: NodeJS.ProcessEnv) => {
  const values = readSettings(settings, env);
  return Object.freeze({
    ...values,
    common: commonConfig(values),
    redis: redisConfig(values),
    /** Least number of instances by service. */
    expected: Object.fromEntries(
      values.expected.map((part): [string, number] => {
        const [service = '', count] = part.split('=');
        return [service, Number(count)];
      }),
    ),
    targets: values.targets.filter((source) => source !== undefined),
    /** Undefined: no synthetic checks. */
    syntheticCheckKey: values.syntheticCheck ? values.serviceApiKeys?.[0] : undefined,
    /** For requests of operators about sessions; undefined: they are rejected. */
    serviceApiKey: values.serviceApiKeys?.[0],
    /** For requests of operators about groups; undefined: they are rejected. */
    serverApiKey: values.serverApiKeys?.[0],
    hasPlayground: values.playground,
    rebalance: {
      mode: values.rebalance,
      settings: {
        afterMs: values.rebalanceAfterMs,
        settleMs: values.rebalanceSettleMs,
        movesPerSecond: values.rebalanceMovesPerS,
        cooldownMs: values.rebalanceCooldownMs,
      },
    },
  });
};
