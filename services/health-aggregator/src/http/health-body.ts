import { LOAD_FRESH_MS } from '../core/capacity.ts';
import type { FleetSnapshot, InstanceSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import {
  type HealthStatus,
  type ServiceStatus,
  STATUS_OF_DEPENDENCY,
  STATUS_OF_INSTANCE,
  STATUS_PROJECTION,
} from '../core/status.ts';

/** Media type of the Internet-Draft "Health Check Response Format for HTTP APIs" (draft-inadarei-api-health-check-06). */
export const HEALTH_JSON = 'application/health+json';

/** A body of `/health`. */
export interface HealthBody {
  readonly status: Exclude<HealthStatus, 'unknown'>;
  readonly [detail: string]: unknown;
}

const healthOf = (status: ServiceStatus): HealthStatus => STATUS_PROJECTION[status].health;
const overall = (status: ServiceStatus): HealthBody['status'] => {
  const health = healthOf(status);
  return health === 'unknown' ? 'unhealthy' : health;
};

/** `/health`: the fleet, with a check for each store and each service. */
export const fleetHealth = ({
  status: fleetStatus,
  dependencies,
  services,
  impact,
  observer,
  asOf,
  ageMs: fleetAgeMs,
}: FleetSnapshot): HealthBody => {
  const stores = Object.entries(dependencies).map(([name, { status, latencyMs, ageMs, reasons }]) => [
    name,
    {
      status: healthOf(STATUS_OF_DEPENDENCY[status]),
      ...(reasons === undefined ? {} : { reasons }),
      ...(latencyMs === undefined ? {} : { latency_ms: latencyMs }),
      ...(ageMs === undefined ? {} : { age_ms: ageMs }),
    },
  ]);
  const checks = services.map(({ service, status, up, total, expected }) => [
    service,
    { status: healthOf(status), up, total, expected },
  ]);
  return {
    status: overall(fleetStatus),
    ...(impact.length === 0 ? {} : { impact }),
    checks: Object.fromEntries([...stores, ...checks]),
    version: observer.version,
    ...{ asOf, ageMs: fleetAgeMs },
  };
};

/** `/health/:service`: one service, with a check for each instance. */
export const serviceHealth = ({ service, status, up, total, expected, instances }: ServiceSnapshot): HealthBody => ({
  status: overall(status),
  ...{ service, up, total, expected },
  checks: Object.fromEntries(instances.map((instance) => [instance.name, instanceCheck(instance)])),
});

/** `/health/:service/:name`: one instance. */
export const instanceHealth = (service: string, instance: InstanceSnapshot): HealthBody => ({
  ...instanceCheck(instance),
  status: overall(STATUS_OF_INSTANCE[instance.state]),
  service,
  instance: instance.name,
  version: instance.version,
  load: instance.load,
});

const instanceCheck = ({ state, why, forMs, beatAgeMs }: InstanceSnapshot) => ({
  status: healthOf(STATUS_OF_INSTANCE[state]),
  ...{ state, why, for_ms: forMs, beat_age_ms: beatAgeMs },
});

/** 200 while clients are served, else 503; with `isStrict` 200 for `healthy` only. */
export const healthHttpStatus = ({ status }: HealthBody, isStrict: boolean): 200 | 503 =>
  status === 'healthy' || (status === 'degraded' && !isStrict) ? 200 : 503;

/** An entry of `checks` in the draft. */
interface DraftCheck {
  readonly componentId?: string;
  readonly componentType: 'component' | 'datastore' | 'system';
  readonly observedValue?: number;
  readonly observedUnit?: string;
  readonly status: 'pass' | 'warn' | 'fail';
  readonly time: string;
  /** Code of the cause; absent in a check that passes. */
  readonly output?: string;
}

/** `/health` in the format of the draft. */
export const draftHealth = (fleet: FleetSnapshot): object => {
  const checks: Record<string, DraftCheck[]> = {};
  for (const [name, { status, latencyMs, reasons }] of Object.entries(fleet.dependencies)) {
    checks[`${name}:responseTime`] = [
      {
        componentType: 'datastore',
        ...(latencyMs === undefined ? {} : { observedValue: latencyMs, observedUnit: 'ms' }),
        status: STATUS_PROJECTION[STATUS_OF_DEPENDENCY[status]].check,
        time: fleet.asOf,
        ...(status === 'up' ? {} : { output: [status, ...(reasons ?? [])].join(' ') }),
      },
    ];
  }
  for (const { service, instances } of fleet.services) {
    checks[`${service}:instances`] = instances.map((instance) => draftCheck(instance, fleet.asOf));
    const counted = instances.filter(
      ({ load, beatAgeMs }) => load['connections'] !== undefined && beatAgeMs <= LOAD_FRESH_MS,
    );
    if (counted.length === 0) continue;
    checks[`${service}:connections`] = counted.map((instance) => ({
      ...draftCheck(instance, fleet.asOf),
      observedValue: instance.load['connections'] ?? 0,
      observedUnit: 'connections',
    }));
  }
  return {
    status: STATUS_PROJECTION[fleet.status].check,
    version: fleet.observer.version.split('.')[0],
    releaseId: fleet.observer.version,
    serviceId: fleet.fleet,
    description: STATUS_PROJECTION[fleet.status].text,
    ...(fleet.impact.length === 0
      ? {}
      : { notes: fleet.impact.map(({ subject, since, users }) => `${subject} since ${since}: ${users}`) }),
    checks,
    links: { about: '/', fleet: '/v1/fleet' },
  };
};

const draftCheck = ({ name, state, why }: InstanceSnapshot, time: string): DraftCheck => ({
  componentId: name,
  componentType: 'component',
  status: STATUS_PROJECTION[STATUS_OF_INSTANCE[state]].check,
  time,
  ...(state === 'up' ? {} : { output: why }),
});
