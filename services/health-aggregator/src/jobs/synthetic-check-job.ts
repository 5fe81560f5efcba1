import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import {
  createSyntheticCheckClient,
  SYNTHETIC_CHECK_STEPS,
  type SyntheticCheckPlan,
  type SyntheticCheckResult,
} from '../clients/synthetic-check-client.ts';
import type { FleetState } from '../core/fleet.ts';
import type { SharedSyntheticCheck } from '../core/synthetic-check-state.ts';
import type { AggregatorKeys } from '../stores/redis-keys.ts';

interface SyntheticCheckJobDeps {
  readonly apiKey: string;
  readonly intervalMs: number;
  readonly fleet: FleetState;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
  /** Epoch of this aggregator while it is the leader: only the leader runs checks. */
  readonly epoch: () => number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
}

const SHARED_FOR_MS = 60_000;

/** Runs the synthetic check periodically, over the next pair of gateways each time. Disposing stops it. */
export const startSyntheticCheckJob = (deps: SyntheticCheckJobDeps): AsyncDisposable => {
  const { fleet, epoch, log } = deps;
  const client = createSyntheticCheckClient(deps);
  const recordResult = createCheckMetrics(deps.metrics);
  let round = 0;
  let wasOk = true;

  const runOnce = async (): Promise<void> => {
    if (epoch() === undefined) {
      // An aggregator that is no longer the leader ends its session.
      await client[Symbol.asyncDispose]();
      return adoptSharedState(deps);
    }
    const plan = planCheck(fleet, round);
    round += 1;
    if (!plan) return fleet.recordSyntheticCheck(undefined);
    const result = await client.run(plan);
    recordResult(result);
    fleet.recordSyntheticCheck(
      result.ok ? { ok: true, durationMs: result.durationMs } : { ok: false, step: result.step },
    );
    if (result.ok && wasOk !== true) log.info({ ...result, ...plan }, 'synthetic_check.passed');
    if (!result.ok && wasOk !== false) log.warn({ ...result, ...plan }, 'synthetic_check.failed');
    wasOk = result.ok;
    await shareState(deps);
  };
  const job = createPeriodicJob(deps.intervalMs, () =>
    runOnce().catch((error: unknown) => log.debug({ error }, 'synthetic_check.share_failed')),
  );
  return {
    [Symbol.asyncDispose]: async () => {
      await job[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
};

const shareState = async ({ fleet, redis, keys }: SyntheticCheckJobDeps): Promise<void> => {
  const shared = JSON.stringify(fleet.syntheticCheck.toShared() ?? null);
  await redis.retry((lane) => lane.set(keys.syntheticCheck, shared, 'PX', SHARED_FOR_MS));
};

/** The age is computed from the remaining TTL of the key, so the clocks of hosts do not matter. */
const adoptSharedState = async ({ fleet, clock, redis, keys }: SyntheticCheckJobDeps): Promise<void> => {
  const [text, leftMs] = await redis
    .retry((lane) => Promise.all([lane.get(keys.syntheticCheck), lane.pttl(keys.syntheticCheck)]))
    .catch((error: unknown) => {
      // A result from before the outage of Redis is not evidence of the present.
      fleet.recordSyntheticCheck(undefined);
      throw error;
    });
  const shared = text === null ? null : (JSON.parse(text) as SharedSyntheticCheck | null);
  if (shared === null) fleet.recordSyntheticCheck(undefined);
  else fleet.syntheticCheck.adopt(shared, Math.max(0, SHARED_FOR_MS - leftMs), clock.monotonic());
};

/** The next pair of neighbours in the ring of serving gateways: each is sender and receiver in turn. */
const planCheck = (fleet: FleetState, round: number): SyntheticCheckPlan | undefined => {
  const serving = (service: string): string[] =>
    fleet
      .monitors()
      .filter(({ heartbeat, state }) => heartbeat.service === service && (state === 'up' || state === 'degraded'))
      .map(({ heartbeat }) => heartbeat.address)
      .sort();
  const gateways = serving('ws-gateway');
  const sessionServices = serving('session-service');
  const sessions = sessionServices[round % Math.max(1, sessionServices.length)];
  const from = gateways[round % Math.max(1, gateways.length)];
  const to = gateways[(round + 1) % Math.max(1, gateways.length)];
  return sessions === undefined || from === undefined || to === undefined ? undefined : { sessions, from, to };
};

const createCheckMetrics = (metrics: Metrics): ((result: SyntheticCheckResult) => void) => {
  const checks = metrics.counter('fleet_synthetic_checks_total');
  const durations = metrics.histogram('fleet_synthetic_check_duration_seconds');
  checks.inc({ result: 'ok', step: 'all' }, 0);
  for (const step of SYNTHETIC_CHECK_STEPS) checks.inc({ result: 'failed', step }, 0);
  return (result) => {
    if (!result.ok) return checks.inc({ result: 'failed', step: result.step });
    checks.inc({ result: 'ok', step: 'all' });
    for (const step of SYNTHETIC_CHECK_STEPS) durations.observe({ step }, result.steps[step] / 1_000);
  };
};
