import { renameSync, rmSync, writeFileSync } from 'node:fs';
import {
  gatewayUrlOf,
  instancesOf,
  type LauncherEnvironment,
  opsUrlOf,
  prometheusUrlOf,
  publicUrlOf,
  type ServiceKind,
  urlOf,
} from './plan.ts';
import { firstKey } from './secrets.ts';

/** An instance of the running fleet. */
export interface FleetMember {
  readonly name: string;
  /** URL for clients. */
  readonly url: string;
  /** URL for operators: metrics, probes, internal calls. */
  readonly opsUrl: string;
  readonly pid: number;
}

/** The running fleet, the content of `fleet.json`. It contains keys; its mode is 0600. */
export interface FleetDescription {
  readonly publicUrl: string;
  readonly sessionServices: readonly FleetMember[];
  readonly gateways: readonly FleetMember[];
  readonly healthAggregators: readonly FleetMember[];
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** The shared port of the gateways for WebSockets; only with `--direct`. */
  readonly gatewayUrl?: string;
  /** Only with `--observability`. */
  readonly prometheusUrl?: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
  /** Operator token of the console. */
  readonly opsToken: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Process id of the launcher. */
  readonly pid: number;
}

/** Description of the fleet with the current process ids. */
export const describeFleet = (
  environment: LauncherEnvironment,
  { startedAt, pidOf }: { startedAt: Date; pidOf: (name: string) => number | undefined },
): FleetDescription => {
  const prometheusUrl = prometheusUrlOf(environment.plan);
  const gatewayUrl = gatewayUrlOf(environment.plan);
  const members = (kind: ServiceKind): FleetMember[] =>
    instancesOf(environment.plan, kind).map((instance) => ({
      name: instance.name,
      url: urlOf(instance),
      opsUrl: opsUrlOf(instance),
      pid: pidOf(instance.name) ?? 0,
    }));
  return {
    publicUrl: publicUrlOf(environment.plan),
    sessionServices: members('session-service'),
    gateways: members('ws-gateway'),
    healthAggregators: members('health-aggregator'),
    redisUrl: environment.redisUrl,
    databaseUrl: environment.databaseUrl,
    ...(gatewayUrl === undefined ? {} : { gatewayUrl }),
    ...(prometheusUrl === undefined ? {} : { prometheusUrl }),
    serviceApiKey: firstKey(environment.secrets.serviceApiKeys),
    serverApiKey: firstKey(environment.secrets.serverApiKeys),
    opsToken: environment.secrets.opsToken,
    startedAt: startedAt.toISOString(),
    pid: process.pid,
  };
};

/** Writes `fleet.json` atomically. */
export const writeDescription = (file: string, description: FleetDescription): void => {
  const unfinished = `${file}.${process.pid}`;
  writeFileSync(unfinished, `${JSON.stringify(description, null, 2)}\n`, { mode: 0o600 });
  renameSync(unfinished, file);
};

/** Removes `fleet.json`. */
export const removeDescription = (file: string): void => rmSync(file, { force: true });
