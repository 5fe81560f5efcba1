import type { DependencyVerdict, ServiceStatus } from '../core/verdict.ts';
import type { FleetView } from '../core/view.ts';

type HealthWord = 'healthy' | 'degraded' | 'unhealthy' | 'unknown';

const WORDS: Readonly<Record<ServiceStatus, HealthWord>> = {
  operational: 'healthy',
  degraded: 'degraded',
  partial_outage: 'degraded',
  major_outage: 'unhealthy',
  unknown: 'unknown',
};
const DEPENDENCY_WORDS: Readonly<Record<DependencyVerdict['status'], HealthWord>> = {
  up: 'healthy',
  degraded: 'degraded',
  down: 'unhealthy',
  unknown: 'unknown',
};

/** The plain answer of `/health`: one word, and one entry for each store and each service. */
export interface HealthBody {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly checks: Readonly<Record<string, object>>;
  readonly version: string;
  readonly asOf: string;
  readonly ageMs: number;
}

/** Writes `/health` from a view. What is not known is not healthy: the whole is then `unhealthy`. */
export const healthBody = (view: FleetView): HealthBody => {
  const word = WORDS[view.status];
  const stores = Object.entries(view.dependencies).map(([name, { status, latencyMs, ageMs }]) => [
    name,
    {
      status: DEPENDENCY_WORDS[status],
      ...(latencyMs === undefined ? {} : { latency_ms: latencyMs }),
      ...(ageMs === undefined ? {} : { age_ms: ageMs }),
    },
  ]);
  const services = view.services.map(({ service, status, up, total, expected }) => [
    service,
    { status: WORDS[status], up, total, expected },
  ]);
  return {
    status: word === 'unknown' ? 'unhealthy' : word,
    checks: Object.fromEntries([...stores, ...services]),
    version: view.observer.version,
    asOf: view.asOf,
    ageMs: view.ageMs,
  };
};

/** 200 while clients are served, 503 when not; `strict` accepts nothing but healthy. */
export const healthStatus = (body: HealthBody, isStrict: boolean): 200 | 503 =>
  body.status === 'healthy' || (body.status === 'degraded' && !isStrict) ? 200 : 503;
