import type { DependencyStatus, Health } from './health.ts';

/** Who answers. */
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
 * Liveness looks at nothing but the running event loop; readiness at this process only, because a fault that
 * all replicas share must not take all of them out of the pool; `/health` reports the dependencies. `asked` is the service
 * that a load balancer expects at this address, which may have been another container's a moment ago.
 */
export const answerProbe = (
  health: Health,
  about: ProcessInfo,
  path: string,
  now: number,
  asked?: unknown,
): ProbeAnswer | undefined => {
  switch (path) {
    case '/livez':
      return answer(200, { status: 'alive' });
    case '/startupz':
      return health.started() ? answer(200, { status: 'started' }) : answer(503, { status: 'starting' });
    case '/readyz': {
      if (asked !== undefined && asked !== about.service) return answer(404, { status: 'other_service' });
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
  const checks = Object.entries(health.dependencies()).map(([name, one]) => [
    name,
    { ...checkBody(one, now), ...details[name] },
  ]);
  // What is told beside the dependencies.
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

/** JSON leaves out what is undefined. */
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
