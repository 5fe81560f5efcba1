import type { FleetSnapshot, InstanceSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import type { InstanceState } from '../core/ports.ts';
import type { DependencyAssessment, ServiceStatus } from '../core/status.ts';

/** The words of our health answers. `unknown` appears in single checks only; as a whole it is `unhealthy`. */
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy' | 'unknown';

/** Words for services and for the fleet. */
export const SERVICE_STATUS_TEXT: Readonly<Record<ServiceStatus, HealthStatus>> = {
  operational: 'healthy',
  degraded: 'degraded',
  partial_outage: 'degraded',
  major_outage: 'unhealthy',
  unknown: 'unknown',
};

/** Words for stores. */
export const STORE_STATUS_TEXT: Readonly<Record<DependencyAssessment['status'], HealthStatus>> = {
  up: 'healthy',
  degraded: 'degraded',
  down: 'unhealthy',
  unknown: 'unknown',
};

/** Words for instances. One that leaves in order is no fault, one that has not been up yet is not known to work. */
export const INSTANCE_STATUS_TEXT: Readonly<Record<InstanceState, HealthStatus>> = {
  starting: 'unknown',
  up: 'healthy',
  degraded: 'degraded',
  suspect: 'degraded',
  draining: 'degraded',
  down: 'unhealthy',
  gone: 'unhealthy',
};

/** A health answer: the word first, then what it stands on. */
export interface HealthBody {
  readonly status: Exclude<HealthStatus, 'unknown'>;
  readonly [detail: string]: unknown;
}

const whole = (word: HealthStatus): HealthBody['status'] => (word === 'unknown' ? 'unhealthy' : word);

/** `/health`: the fleet, with one check for each store and each service. */
export const fleetHealth = (view: FleetSnapshot): HealthBody => {
  const stores = Object.entries(view.dependencies).map(([name, { status, latencyMs, ageMs, reasons }]) => [
    name,
    {
      status: STORE_STATUS_TEXT[status],
      ...(reasons === undefined ? {} : { reasons }),
      ...(latencyMs === undefined ? {} : { latency_ms: latencyMs }),
      ...(ageMs === undefined ? {} : { age_ms: ageMs }),
    },
  ]);
  const services = view.services.map(({ service, status, up, total, expected }) => [
    service,
    { status: SERVICE_STATUS_TEXT[status], up, total, expected },
  ]);
  return {
    status: whole(SERVICE_STATUS_TEXT[view.status]),
    ...(view.impact.length === 0 ? {} : { impact: view.impact }),
    checks: Object.fromEntries([...stores, ...services]),
    version: view.observer.version,
    asOf: view.asOf,
    ageMs: view.ageMs,
  };
};

/** `/health/:service`: one service, with one check for each instance. */
export const serviceHealth = ({
  service,
  status,
  up,
  total,
  expected,
  instances,
}: ServiceSnapshot): HealthBody => ({
  status: whole(SERVICE_STATUS_TEXT[status]),
  service,
  up,
  total,
  expected,
  checks: Object.fromEntries(instances.map((instance) => [instance.name, instanceCheck(instance)])),
});

/** `/health/:service/:name`: one instance. */
export const instanceHealth = (service: string, instance: InstanceSnapshot): HealthBody => ({
  ...instanceCheck(instance),
  status: whole(INSTANCE_STATUS_TEXT[instance.state]),
  service,
  instance: instance.name,
  version: instance.version,
  load: instance.load,
});

const instanceCheck = ({ state, why, forMs, beatAgeMs }: InstanceSnapshot) => ({
  status: INSTANCE_STATUS_TEXT[state],
  state,
  why,
  for_ms: forMs,
  beat_age_ms: beatAgeMs,
});

/** 200 while clients are served, 503 when not; `strict` accepts nothing but healthy. */
export const healthStatus = (body: HealthBody, isStrict: boolean): 200 | 503 =>
  body.status === 'healthy' || (body.status === 'degraded' && !isStrict) ? 200 : 503;
