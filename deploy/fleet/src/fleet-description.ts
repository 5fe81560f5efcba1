import { renameSync, rmSync, writeFileSync } from 'node:fs';
import {
  type LauncherEnvironment,
  opsUrlOf,
  type PlannedInstance,
  prometheusUrlOf,
  publicUrlOf,
  type ServiceKind,
  urlOf,
} from './plan.ts';
import { firstKey } from './secrets.ts';

/** One process of the running fleet. */
export interface FleetMember {
  readonly name: string;
  /** Where it answers clients. */
  readonly url: string;
  /** Where it answers operators: metrics, probes, internal calls. */
  readonly opsUrl: string;
  readonly pid: number;
}

/** The running fleet, as `fleet.json` tells other programs. It holds keys: only the owner may read it. */
export interface FleetDescription {
  readonly publicUrl: string;
  readonly sessionServices: readonly FleetMember[];
  readonly gateways: readonly FleetMember[];
  readonly healthAggregators: readonly FleetMember[];
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** With `--observability` only. */
  readonly prometheusUrl?: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
  /** For operators of the console. */
  readonly opsToken: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Of the launcher. */
  readonly pid: number;
}

/** Tells the fleet as it is now. */
export const describeFleet = (
  around: LauncherEnvironment,
  { startedAt, pidOf }: { startedAt: Date; pidOf: (name: string) => number | undefined },
): FleetDescription => {
  const member = (instance: PlannedInstance): FleetMember => ({
    name: instance.name,
    url: urlOf(instance),
    opsUrl: opsUrlOf(instance),
    pid: pidOf(instance.name) ?? 0,
  });
  const prometheusUrl = prometheusUrlOf(around.plan);
  const members = (kind: ServiceKind) => around.plan.instances.filter((one) => one.kind === kind).map(member);
  return {
    publicUrl: publicUrlOf(around.plan),
    sessionServices: members('session-service'),
    gateways: members('ws-gateway'),
    healthAggregators: members('health-aggregator'),
    redisUrl: around.redisUrl,
    databaseUrl: around.databaseUrl,
    ...(prometheusUrl === undefined ? {} : { prometheusUrl }),
    serviceApiKey: firstKey(around.secrets.serviceApiKeys),
    serverApiKey: firstKey(around.secrets.serverApiKeys),
    opsToken: around.secrets.opsToken,
    startedAt: startedAt.toISOString(),
    pid: process.pid,
  };
};

/** Writes `fleet.json` in one step, so that nobody ever reads half of it. */
export const writeDescription = (file: string, description: FleetDescription): void => {
  const unfinished = `${file}.${process.pid}`;
  writeFileSync(unfinished, `${JSON.stringify(description, null, 2)}\n`, { mode: 0o600 });
  renameSync(unfinished, file);
};

/** The fleet is no more. */
export const removeDescription = (file: string): void => rmSync(file, { force: true });
