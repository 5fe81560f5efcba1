import { freePorts } from '@muster/local/ports';
import type { Secrets } from './secrets.ts';

const HOST = '127.0.0.1';
const OPS_OFFSET = 1_000;
const GATEWAY_OFFSET = 100;
const AGGREGATOR_OFFSET = 200;
const POSTGRES_OFFSET = 300;
const REDIS_OFFSET = 301;
const PROMETHEUS_OFFSET = 302;
/** Long enough for the connections of one machine, short enough after Ctrl-C. */
const DRAIN_TIMEOUT_MS = '5000';
const DRAIN_NOTICE_MS = '1000';

export type ServiceKind = 'session-service' | 'ws-gateway' | 'health-aggregator';

/** An instance of a service and its ports. */
export interface PlannedInstance {
  readonly kind: ServiceKind;
  readonly name: string;
  readonly port: number;
  readonly opsPort: number;
  /** True when `port` leads to any instance of the service. */
  readonly sharesPort: boolean;
}

/** Ports of a fleet. */
export interface Plan {
  readonly publicPort: number;
  readonly postgresPort: number;
  readonly redisPort: number;
  /** Undefined without `--observability`. */
  readonly prometheusPort: number | undefined;
  readonly instances: readonly PlannedInstance[];
}

/** Numbers of instances, and their ports. */
export interface LauncherSize {
  readonly sessions: number;
  readonly gateways: number;
  readonly aggregators: number;
  /** Gateways share one port, without the load balancer before them. */
  readonly direct: boolean;
  /** Port of the load balancer; 0 selects a free port. */
  readonly port: number;
  /** Port of the first session service; other ports are offsets from it, see `--help`. 0 selects free ports. */
  readonly basePort: number;
  /** True to start Prometheus, which must be installed or installable. */
  readonly observability: boolean;
}

export const DEFAULT_SIZE: LauncherSize = {
  sessions: 1,
  gateways: 2,
  aggregators: 1,
  direct: false,
  port: 8_080,
  basePort: 8_100,
  observability: false,
};

/** Assigns ports: at fixed offsets from `basePort`, or free ports when it is 0. */
export const planFleet = async (size: LauncherSize): Promise<Plan> => {
  const { sessions, gateways, aggregators, basePort } = size;
  const kinds: [ServiceKind, number, number][] = [
    ['session-service', sessions, 0],
    ['ws-gateway', gateways, GATEWAY_OFFSET],
    ['health-aggregator', aggregators, AGGREGATOR_OFFSET],
  ];
  const free = basePort === 0 ? await freePorts(2 * (sessions + gateways + aggregators) + 3) : [];
  const nextPort = (fixed: number): number => free.pop() ?? basePort + fixed;
  const instances = kinds.flatMap(([kind, count, offset]) => {
    const sharesPort = size.direct && kind === 'ws-gateway';
    const first = nextPort(offset);
    return Array.from({ length: count }, (_, index) => ({
      kind,
      name: `${kind}-${index + 1}`,
      port: index === 0 || sharesPort ? first : nextPort(offset + index),
      opsPort: nextPort(offset + index + OPS_OFFSET),
      sharesPort,
    }));
  });
  return {
    instances,
    publicPort: size.port || ((await freePorts(1))[0] ?? 0),
    postgresPort: nextPort(POSTGRES_OFFSET),
    redisPort: nextPort(REDIS_OFFSET),
    prometheusPort: size.observability ? nextPort(PROMETHEUS_OFFSET) : undefined,
  };
};

/** Instances of a service. */
export const instancesOf = ({ instances }: Plan, kind: ServiceKind): PlannedInstance[] =>
  instances.filter((instance) => instance.kind === kind);

/** Inputs of the environment of a service. */
export interface LauncherEnvironment {
  /** Environment of the caller; it takes precedence except for names, addresses and ports. */
  readonly env: NodeJS.ProcessEnv;
  readonly plan: Plan;
  readonly secrets: Secrets;
  readonly databaseUrl: string;
  readonly redisUrl: string;
}

/** Environment of one service process. */
export const serviceEnvironment = (instance: PlannedInstance, environment: LauncherEnvironment): NodeJS.ProcessEnv => {
  const { env, plan, secrets } = environment;
  const defaults: Record<string, string> = {
    NODE_ENV: 'development',
    PUBLIC_URL: publicUrlOf(plan),
    ALLOWED_ORIGINS: originsFor(plan, env['PUBLIC_URL']),
    TRUSTED_PROXIES: HOST,
    DRAIN_TIMEOUT_MS,
    // HAProxy stops using a replica after two failed checks: 0.7 s.
    DRAIN_ACCEPT_MS: DRAIN_NOTICE_MS,
    DRAIN_DELAY_MS: DRAIN_NOTICE_MS,
    GUEST_SESSIONS: 'on',
    SESSION_SECRETS: secrets.sessionSecrets,
    SERVICE_API_KEYS: secrets.serviceApiKeys,
    SERVER_API_KEYS: secrets.serverApiKeys,
    INTERNAL_API_KEY: secrets.internalApiKey,
    SESSION_SERVICE_URL: instancesOf(plan, 'session-service').map(opsUrlOf).join(','),
    // Aggregators do not query aggregators.
    ...(instance.kind === 'health-aggregator'
      ? { OPS_TOKEN: secrets.opsToken }
      : { AGGREGATOR_URLS: instancesOf(plan, 'health-aggregator').map(urlOf).join(',') }),
  };
  const unset = Object.entries(defaults).filter(([name]) => !isConfigured(env, name));
  return {
    ...env,
    ...Object.fromEntries(unset),
    HOST,
    PORT: String(instance.port),
    OPS_PORT: String(instance.opsPort),
    ...(instance.sharesPort ? { REUSE_PORT: 'on' } : {}),
    INSTANCE_NAME: instance.name,
    REDIS_URL: environment.redisUrl,
    REDIS_URL_FILE: undefined,
    // Only the session service uses Postgres; other services do not receive its password.
    DATABASE_URL: instance.kind === 'session-service' ? environment.databaseUrl : undefined,
    DATABASE_URL_FILE: undefined,
  };
};

/** True when a variable or its `NAME_FILE` is set and not empty. */
export const isConfigured = (env: NodeJS.ProcessEnv, name: string): boolean =>
  [env[name], env[`${name}_FILE`]].some((value) => value !== undefined && value !== '');

/** URL of the load balancer. */
export const publicUrlOf = (plan: Plan): string => `http://${HOST}:${plan.publicPort}`;

/** URL of the port that the gateways share; undefined without `--direct`. */
export const gatewayUrlOf = ({ instances }: Plan): string | undefined => {
  const shared = instances.find(({ sharesPort }) => sharesPort);
  return shared && urlOf(shared);
};

/** URL of Prometheus; undefined without it. */
export const prometheusUrlOf = ({ prometheusPort }: Plan): string | undefined =>
  prometheusPort === undefined ? undefined : `http://${HOST}:${prometheusPort}`;

/** URL of an instance for clients. */
export const urlOf = (instance: PlannedInstance): string => `http://${HOST}:${instance.port}`;

/** URL of an instance for operators. */
export const opsUrlOf = (instance: PlannedInstance): string => `http://${HOST}:${instance.opsPort}`;

/** Origins of the load balancer: browsers send the host name that was entered. */
const originsFor = (plan: Plan, publicUrl: string | undefined): string => {
  const own = [publicUrlOf(plan), `http://localhost:${plan.publicPort}`];
  const theirs = publicUrl !== undefined && URL.canParse(publicUrl) ? [new URL(publicUrl).origin] : [];
  return [...new Set([...theirs, ...own])].join(',');
};

/** Every port of the plan with its purpose and the option that changes it. */
export const wantedPorts = (
  plan: Plan,
  stores: { postgres: boolean; redis: boolean },
): { port: number; owner: string; option: string }[] => [
  { port: plan.publicPort, owner: 'the load balancer', option: '--port' },
  ...(stores.postgres ? [{ port: plan.postgresPort, owner: 'Postgres', option: '--base-port' }] : []),
  ...(stores.redis ? [{ port: plan.redisPort, owner: 'Redis', option: '--base-port' }] : []),
  ...(plan.prometheusPort === undefined
    ? []
    : [{ port: plan.prometheusPort, owner: 'Prometheus', option: '--base-port' }]),
  ...plan.instances.flatMap(({ name, port, opsPort }, index, all) => [
    ...(all.findIndex((other) => other.port === port) === index ? [{ port, owner: name, option: '--base-port' }] : []),
    { port: opsPort, owner: `${name} (ops)`, option: '--base-port' },
  ]),
];
