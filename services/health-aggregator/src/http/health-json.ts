import { LOAD_FRESH_MS } from '../core/capacity.ts';
import type { FleetSnapshot, InstanceSnapshot } from '../core/fleet-snapshot.ts';
import {
  type HealthStatus,
  INSTANCE_STATUS_TEXT,
  SERVICE_STATUS_TEXT,
  STORE_STATUS_TEXT,
} from './health-body.ts';

/** Media type of the Internet-Draft "Health Check Response Format for HTTP APIs" (draft-inadarei-api-health-check-06). */
export const HEALTH_JSON = 'application/health+json';

const PASS_WORDS: Readonly<Record<HealthStatus, 'pass' | 'warn' | 'fail'>> = {
  healthy: 'pass',
  degraded: 'warn',
  unhealthy: 'fail',
  unknown: 'fail',
};

/** One entry of `checks`. */
interface Check {
  readonly componentId?: string;
  readonly componentType: 'component' | 'datastore' | 'system';
  readonly observedValue?: number;
  readonly observedUnit?: string;
  readonly status: 'pass' | 'warn' | 'fail';
  readonly time: string;
  /** The code of the cause; the draft wants it absent when all is well. */
  readonly output?: string;
}

/** The fleet in the format of the draft. The word of the plain answer decides `status`. */
export const healthJson = (view: FleetSnapshot): object => {
  const checks: Record<string, Check[]> = {};
  for (const [name, { status, latencyMs, reasons }] of Object.entries(view.dependencies)) {
    checks[`${name}:responseTime`] = [
      {
        componentType: 'datastore',
        ...(latencyMs === undefined ? {} : { observedValue: latencyMs, observedUnit: 'ms' }),
        status: PASS_WORDS[STORE_STATUS_TEXT[status]],
        time: view.asOf,
        ...(status === 'up' ? {} : { output: [status, ...(reasons ?? [])].join(' ') }),
      },
    ];
  }
  for (const { service, instances } of view.services) {
    checks[`${service}:instances`] = instances.map((instance) => instanceCheck(instance, view.asOf));
    const counted = instances.filter(
      ({ load, beatAgeMs }) => load['connections'] !== undefined && beatAgeMs <= LOAD_FRESH_MS,
    );
    if (counted.length > 0) {
      checks[`${service}:connections`] = counted.map((instance) => ({
        ...instanceCheck(instance, view.asOf),
        observedValue: instance.load['connections'] ?? 0,
        observedUnit: 'connections',
      }));
    }
  }
  return {
    status: PASS_WORDS[SERVICE_STATUS_TEXT[view.status]],
    version: view.observer.version.split('.')[0],
    releaseId: view.observer.version,
    serviceId: view.fleet,
    description: 'the whole fleet',
    ...(view.impact.length === 0
      ? {}
      : { notes: view.impact.map(({ subject, since, users }) => `${subject} since ${since}: ${users}`) }),
    checks,
    links: { about: '/', fleet: '/v1/fleet' },
  };
};

const instanceCheck = ({ name, state, why }: InstanceSnapshot, time: string): Check => ({
  componentId: name,
  componentType: 'component',
  status: PASS_WORDS[INSTANCE_STATUS_TEXT[state]],
  time,
  ...(state === 'up' ? {} : { output: why }),
});
