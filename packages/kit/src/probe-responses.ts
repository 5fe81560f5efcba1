import type { DependencyStatus, Health } from './health.ts';

/** The process that answers probes. */
export interface ProcessInfo {
  readonly service: string;
  readonly version: string;
  /** Name of the replica. */
  readonly instance: string;
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number;
  /** More members for `/health`, such as pool statistics by dependency. */
  readonly details?: () => Readonly<Record<string, object>>;
}

export interface ProbeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const RETRY_AFTER_S = '2';

/**
 * Answers `/livez`, `/startupz`, `/readyz` and `/health`; undefined for every other path.
 * Liveness is the running event loop; readiness is that of this process, because a fault that all replicas share must not make all of
 * them unready; `/health` reports the dependencies. `expected` is the service that a load balancer expects at this address, which may
 * have belonged to another container before.
 */
export const answerProbe = (
  health: Health,
  about: ProcessInfo,
  path: string,
  now: number,
  expected?: unknown,
): ProbeAnswer | undefined => {
  switch (path) {
    case '/livez':
      return answer(200, { status: 'alive' });
    case '/startupz':
      return health.started() ? answer(200, { status: 'started' }) : answer(503, { status: 'starting' });
    case '/readyz': {
      if (expected !== undefined && expected !== about.service) return answer(404, { status: 'other_service' });
      const state = health.state();
      const isReady = health.isReady();
      const blamed = health.blamed();
      return answer(isReady ? 200 : 503, {
        status: isReady ? 'ready' : state,
        state,
        local_fault: blamed,
      });
    }
    case '/health':
      return healthAnswer(health, about, now);
    default:
      return undefined;
  }
};

const healthAnswer = (health: Health, about: ProcessInfo, now: number): ProbeAnswer => {
  const state = health.state();
  const status = !health.isReady() ? 'unhealthy' : state === 'ready' ? 'healthy' : 'degraded';
  const details = about.details?.() ?? {};
  const checks = Object.entries(health.dependencies()).map(([name, check]) => [
    name,
    { ...checkBody(check, now), ...details[name] },
  ]);
  const others = Object.entries(details).filter(([name]) => !(name in health.dependencies()));
  return answer(status === 'unhealthy' ? 503 : 200, {
    status,
    state,
    service: about.service,
    instance: about.instance,
    version: about.version,
    uptime_s: Math.floor((now - about.startedAt) / 1000),
    checks: Object.fromEntries([...checks, ...others]),
  });
};

/** JSON omits undefined members. */
const checkBody = ({ status, latencyMs, checkedAt, forMs, reason }: DependencyStatus, now: number) => ({
  status,
  latency_ms: latencyMs,
  age_ms: checkedAt === 0 ? undefined : now - checkedAt,
  for_ms: forMs,
  reason,
});

const answer = (status: number, body: object): ProbeAnswer => ({
  status,
  headers: {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    ...(status === 503 ? { 'retry-after': RETRY_AFTER_S } : {}),
  },
  body: JSON.stringify(body),
});
