import { every } from '@muster/kit/clock';
import type { Metrics } from '@muster/kit/metrics';
import { oneAtATime } from '@muster/kit/periodic-job';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { createWebhooks } from '../clients/webhooks.ts';
import type { AggregatorConfig } from '../config.ts';
import type { FleetState } from '../core/fleet.ts';
import {
  createIncidentDetector,
  type Incident,
  type IncidentChange,
  openIncidents,
  type WriteOutcome,
} from '../core/incidents.ts';
import { createIncidentStore } from '../stores/incident-store.ts';
import { createRebalanceRounds } from '../stores/rebalance-rounds.ts';
import type { AggregatorKeys } from '../stores/redis-keys.ts';
import { createUptimeStore } from '../stores/uptime-store.ts';
import { IncidentRecorder } from './incident-recorder.ts';
import { startLeaderElection } from './leader-election.ts';
import { startPodDeletionCostJob } from './pod-deletion-cost-job.ts';
import { startRebalanceJob } from './rebalance-job.ts';
import { startSyntheticCheckJob } from './synthetic-check-job.ts';
import { startUptimeRecorder } from './uptime-recorder.ts';

const WORK_MS = 1_000;

/** Tasks of the leader, and what they expose. */
export type LeaderTasks = Awaited<ReturnType<typeof startLeaderTasks>>;

interface LeaderTasksDeps {
  readonly config: AggregatorConfig;
  readonly runtime: Runtime;
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
  readonly metrics: Metrics;
  readonly fleet: FleetState;
  readonly instance: { readonly id: string; readonly name: string };
}

/**
 * Writes incidents and uptime history and sends webhooks while this aggregator is the leader. Every aggregator observes, and keeps
 * in memory what cannot be written.
 */
export const startLeaderTasks = async (deps: LeaderTasksDeps) => {
  const { config, runtime, redis, keys, fleet, instance } = deps;
  const { clock, random, log } = runtime;
  await using stack = new AsyncDisposableStack();
  const election = stack.use(
    await startLeaderElection({ redis, keys, ...instance, leaseMs: config.leaderLeaseMs, clock, log }),
  );
  const store = createIncidentStore(redis, keys);
  const recorder = new IncidentRecorder({
    ...{ fleet, store, election, clock, log },
    detector: createIncidentDetector(() => crypto.randomUUID(), config.incidentAfterMs),
    channels: config.webhookUrls.length,
  });
  const incidents = () => recorder.incidents();
  const instruments = createLeaderMetrics(deps.metrics, election, () => openIncidents(incidents()));
  const webhooks = createWebhooks({
    ...{ redis, keys, clock, random, log },
    urls: config.webhookUrls,
    secret: config.webhookSecret,
    onResult: instruments.delivered,
  });
  const history = createUptimeStore(redis, keys);
  const uptime = stack.use(startUptimeRecorder({ fleet, store: history, epoch: election.epoch, clock, log }));
  startSyntheticChecks(deps, election.epoch, stack);
  startScaling(deps, election.epoch, stack);
  const work = async (): Promise<void> => {
    fleet.setLeader(election.leader());
    await recorder.synchronise();
    if (election.epoch() !== undefined) void webhooks.deliver();
  };
  const run = oneAtATime(() => work().catch((error: unknown) => log.debug({ error }, 'leader.task_failed')));
  void run();
  // The running task ends before the store is closed.
  stack.defer(run.settled);
  const tick = (): void => {
    // Observing does not wait for Redis.
    recorder.observe();
    void run();
  };
  stack.defer(every(WORK_MS, tick));
  const owned = stack.move();
  return {
    /** The latest incidents, newest first, from memory. */
    incidents,
    /** Ids of incidents that are not stored yet. */
    unsaved: () => recorder.unsaved(),
    /** Writes a note of an operator with the epoch of the leader. `refused` without a leader; rejects without Redis. */
    note: (change: IncidentChange): Promise<WriteOutcome> => recorder.note(change),
    /** An incident of any age, from Redis. */
    find: store.find,
    /** Uptime of the last 90 days by service; see UptimeRecorder. */
    days: uptime.days,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

const startScaling = (
  { config, runtime: { clock, log }, fleet, redis, keys, metrics }: LeaderTasksDeps,
  epoch: () => number | undefined,
  stack: AsyncDisposableStack,
): void => {
  const { rebalance, podDeletionCostIntervalMs: intervalMs } = config;
  const deps = { epoch, clock, log, fleet, metrics };
  if (rebalance.mode !== 'off') {
    const rounds = createRebalanceRounds(redis, keys, config.common.fleetName);
    const { settings, mode } = rebalance;
    stack.use(startRebalanceJob({ ...deps, settings, rounds, isDryRun: mode === 'dry-run' }));
  }
  if (config.podDeletionCost) {
    const kubernetes = { url: config.kubernetesApiUrl, credentialsDirectory: config.kubernetesCredentialsDir };
    stack.use(startPodDeletionCostJob({ ...deps, kubernetes, intervalMs }));
  }
};

const startSyntheticChecks = (
  { config, runtime: { clock, log }, fleet, redis, keys, metrics }: LeaderTasksDeps,
  epoch: () => number | undefined,
  stack: AsyncDisposableStack,
): void => {
  const { syntheticCheckKey: apiKey, syntheticCheckIntervalMs: intervalMs, tenantHosts } = config;
  if (apiKey !== undefined)
    stack.use(
      startSyntheticCheckJob({
        apiKey,
        tenantHosts,
        intervalMs,
        epoch,
        clock,
        log,
        fleet,
        redis,
        keys,
        metrics,
      }),
    );
};

const createLeaderMetrics = (
  metrics: Metrics,
  election: { epoch(): number | undefined; leader(): { epoch: number } | null },
  open: () => readonly Incident[],
) => {
  const isLeader = metrics.gauge('fleet_leader').with({});
  const epoch = metrics.gauge('fleet_epoch').with({});
  const incidents = metrics.gauge('fleet_incidents_open');
  const notifications = metrics.counter('fleet_notifications_total');
  metrics.onCollect(() => {
    isLeader.set(election.epoch() === undefined ? 0 : 1);
    epoch.set(election.leader()?.epoch ?? 0);
    for (const severity of ['degraded', 'partial_outage', 'major_outage'] as const) {
      incidents.set({ severity }, open().filter((incident) => incident.severity === severity).length);
    }
  });
  return {
    delivered: (channel: number, result: string) => notifications.inc({ channel, result }),
  };
};
