import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { FleetState } from '../core/fleet.ts';
import {
  type GatewayMoves,
  REBALANCE_STATES,
  RebalancePolicy,
  type RebalanceSettings,
  ROUND_MS,
} from '../core/rebalance-policy.ts';
import type { RebalanceRounds } from '../stores/rebalance-rounds.ts';

const CHECK_MS = 1_000;
/** Less than a round, so that delays of timers do not repeat one. */
const ROUND_GUARD_MS = ROUND_MS - 2 * CHECK_MS;

interface RebalanceJobDeps {
  readonly settings: RebalanceSettings;
  readonly isDryRun: boolean;
  readonly rounds: RebalanceRounds;
  readonly epoch: () => number | undefined;
  readonly fleet: Pick<FleetState, 'snapshot'>;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Moves clients from full gateways to emptier gateways. Every aggregator assesses the fleet; the leader issues one round of directives
 * at a time, each with a log line and an event.
 */
export const startRebalanceJob = (deps: RebalanceJobDeps): AsyncDisposable => {
  const { settings, isDryRun, rounds, epoch, fleet, clock, log } = deps;
  const policy = new RebalancePolicy(settings);
  const instruments = createRebalanceMetrics(deps.metrics);
  const limits = { minAgeMs: settings.afterMs, cooldownMs: settings.cooldownMs };

  const issue = async (leaderEpoch: number, plan: readonly GatewayMoves[]): Promise<void> => {
    const moves = plan.reduce((sum, { count }) => sum + count, 0);
    try {
      const round = { epoch: leaderEpoch, plan, roundMs: ROUND_GUARD_MS, isDryRun, limits };
      const outcome = await rounds.issue(round);
      instruments.decided(outcome === 'issued' && isDryRun ? 'dry_run' : outcome);
      if (outcome !== 'issued') return;
      if (!isDryRun) instruments.requested(moves);
      const gateways = Object.fromEntries(plan.map(({ name, count }) => [name, count]));
      log.info({ moves, gateways, isDryRun }, 'rebalance.decided');
    } catch (error) {
      instruments.decided('failed');
      log.warn({ error }, 'rebalance.failed');
    }
  };
  const check = async (): Promise<void> => {
    const { state, plan, isIneffective } = policy.assess(fleet.snapshot(), clock.monotonic());
    instruments.setState(state);
    const leaderEpoch = epoch();
    if (leaderEpoch === undefined) return;
    if (isIneffective && !isDryRun) {
      instruments.decided('ineffective');
      log.warn({ pauseMs: settings.cooldownMs }, 'rebalance.ineffective');
    }
    if (plan !== undefined) await issue(leaderEpoch, plan);
  };
  return createPeriodicJob(CHECK_MS, check);
};

const createRebalanceMetrics = (metrics: Metrics) => {
  const decisions = metrics.counter('fleet_rebalance_decisions_total');
  const moves = metrics.counter('fleet_rebalance_moves_requested_total').with({});
  const states = metrics.gauge('fleet_rebalance_state');
  return {
    decided: (result: 'issued' | 'dry_run' | 'refused' | 'repeated' | 'ineffective' | 'failed') =>
      decisions.inc({ result }),
    requested: (count: number) => moves.inc(count),
    setState: (state: (typeof REBALANCE_STATES)[number]): void => {
      for (const each of REBALANCE_STATES) states.set({ state: each }, each === state ? 1 : 0);
    },
  };
};
