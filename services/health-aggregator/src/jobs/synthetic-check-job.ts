import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
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

/** What travelling needs. */
export interface SyntheticCheckJobDeps {
  readonly apiKey: string;
  readonly intervalMs: number;
  readonly fleet: FleetState;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
  /** Our epoch while we lead: one aggregator travels, not all. */
  readonly epoch: () => number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
}

const SHARED_FOR_MS = 60_000;

/** Sends a client through the fleet every few seconds, over another pair of gateways each time. Disposing stops it. */
export const startSyntheticCheckJob = (deps: SyntheticCheckJobDeps): AsyncDisposable => {
  const { fleet, epoch, log } = deps;
  const journey = createSyntheticCheckClient(deps);
  const tell = createJourneyMetrics(deps.metrics);
  let round = 0;
  let wasOk = true;
  let underWay: Promise<void> | undefined;

  const go = async (): Promise<void> => {
    if (epoch() === undefined) {
      // Who does not lead any more leaves no session behind.
      await journey[Symbol.asyncDispose]();
      return adopt(deps);
    }
    const plan = planJourney(fleet, round);
    round += 1;
    if (!plan) return fleet.recordSyntheticCheck(undefined);
    const result = await journey.run(plan);
    tell(result);
    fleet.recordSyntheticCheck(
      result.ok ? { ok: true, durationMs: result.durationMs } : { ok: false, step: result.step },
    );
    if (result.ok && wasOk !== true) log.info({ ...result, ...plan }, 'synthetic_check.passed');
    if (!result.ok && wasOk !== false) log.warn({ ...result, ...plan }, 'synthetic_check.failed');
    wasOk = result.ok;
    await share(deps);
  };
  const stop = every(deps.intervalMs, () => {
    underWay ??= go()
      .catch((error: unknown) => log.debug({ error }, 'synthetic_check.share_failed'))
      .finally(() => {
        underWay = undefined;
      });
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stop();
      await underWay;
      await journey[Symbol.asyncDispose]();
    },
  };
};

const share = async ({ fleet, redis, keys }: SyntheticCheckJobDeps): Promise<void> => {
  const shared = JSON.stringify(fleet.syntheticCheck.toShared() ?? null);
  await redis.retry((lane) => lane.set(keys.syntheticCheck, shared, 'PX', SHARED_FOR_MS));
};

/** Its age follows from what is left of the life of the key, so clocks of hosts do not matter. */
const adopt = async ({ fleet, clock, redis, keys }: SyntheticCheckJobDeps): Promise<void> => {
  const [text, leftMs] = await redis
    .retry((lane) => Promise.all([lane.get(keys.syntheticCheck), lane.pttl(keys.syntheticCheck)]))
    .catch((error: unknown) => {
      // What was told before the store went away is no word on now.
      fleet.recordSyntheticCheck(undefined);
      throw error;
    });
  const shared = text === null ? null : (JSON.parse(text) as SharedSyntheticCheck | null);
  if (shared === null) fleet.recordSyntheticCheck(undefined);
  else fleet.syntheticCheck.adopt(shared, Math.max(0, SHARED_FOR_MS - leftMs), clock.monotonic());
};

/** The next pair of neighbours in the ring of serving gateways, so that each is both sender and receiver in turn. */
const planJourney = (fleet: FleetState, round: number): SyntheticCheckPlan | undefined => {
  const serving = (service: string): string[] =>
    fleet
      .monitors()
      .filter(
        ({ heartbeat, state }) => heartbeat.service === service && (state === 'up' || state === 'degraded'),
      )
      .map(({ heartbeat }) => heartbeat.address)
      .sort();
  const gateways = serving('ws-gateway');
  const sessionServices = serving('session-service');
  const sessions = sessionServices[round % Math.max(1, sessionServices.length)];
  const from = gateways[round % Math.max(1, gateways.length)];
  const to = gateways[(round + 1) % Math.max(1, gateways.length)];
  return sessions === undefined || from === undefined || to === undefined
    ? undefined
    : { sessions, from, to };
};

const createJourneyMetrics = (metrics: Metrics): ((result: SyntheticCheckResult) => void) => {
  const journeys = metrics.counter('fleet_synthetic_checks_total');
  const durations = metrics.histogram('fleet_synthetic_check_duration_seconds');
  journeys.inc({ result: 'ok', step: 'all' }, 0);
  for (const step of SYNTHETIC_CHECK_STEPS) journeys.inc({ result: 'failed', step }, 0);
  return (result) => {
    if (!result.ok) return journeys.inc({ result: 'failed', step: result.step });
    journeys.inc({ result: 'ok', step: 'all' });
    for (const step of SYNTHETIC_CHECK_STEPS) durations.observe({ step }, result.steps[step] / 1_000);
  };
};
