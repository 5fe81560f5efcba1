import { every } from '@muster/kit/clock';
import type { Metrics } from '@muster/kit/metrics';
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
import type { AggregatorKeys } from '../stores/redis-keys.ts';
import { createUptimeStore } from '../stores/uptime-store.ts';
import { IncidentRecorder } from './incident-recorder.ts';
import { startLeaderElection } from './leader-election.ts';
import { startSyntheticCheckJob } from './synthetic-check-job.ts';
import { startUptimeRecorder, type UptimeRecorder } from './uptime-recorder.ts';

const WORK_MS = 1_000;

/** What the leader does: write incidents and history, and notify. All aggregators look, and keep what the store cannot take. */
export interface LeaderTasks extends AsyncDisposable {
  /** The latest incidents, newest first, from memory. */
  incidents(): readonly Incident[];
  /** Ids of incidents that wait for the store. */
  unsaved(): ReadonlySet<string>;
  /** Writes what an operator says, in the name of the leader. Rejects without Redis; `refused` when nobody leads. */
  note(change: IncidentChange): Promise<WriteOutcome>;
  /** An incident however old, from the store. */
  find(id: string): Promise<Incident | undefined>;
  /** The last 90 days by service, and of the whole under `fleet`; from memory. */
  days: UptimeRecorder['days'];
}

/** What leading needs. */
export interface LeaderTasksDeps {
  readonly config: AggregatorConfig;
  readonly world: Runtime;
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
  readonly metrics: Metrics;
  readonly fleet: FleetState;
  readonly instance: { readonly id: string; readonly name: string };
}

/** Campaigns, and works each second while it leads. */
export const startLeaderTasks = async (deps: LeaderTasksDeps): Promise<LeaderTasks> => {
  const { config, world, redis, keys, fleet, instance } = deps;
  const { clock, random, log } = world;
  await using stack = new AsyncDisposableStack();
  const leadership = stack.use(
    await startLeaderElection({ redis, keys, ...instance, leaseMs: config.leaderLeaseMs, clock, log }),
  );
  const store = createIncidentStore(redis, keys);
  const incidentLog = new IncidentRecorder({
    ...{ fleet, store, leadership, clock, log },
    keeper: createIncidentDetector(() => crypto.randomUUID(), config.incidentAfterMs),
    channels: config.webhookUrls.length,
  });
  const incidents = () => incidentLog.incidents();
  const instruments = createLeadMetrics(deps.metrics, leadership, () => openIncidents(incidents()));
  const webhooks = createWebhooks({
    ...{ redis, keys, clock, random, log },
    urls: config.webhookUrls,
    secret: config.webhookSecret,
    onResult: instruments.delivered,
  });
  const history = createUptimeStore(redis, keys);
  const chronicle = stack.use(
    startUptimeRecorder({ fleet, store: history, epoch: leadership.epoch, clock, log }),
  );
  startJourneys(deps, leadership.epoch, stack);
  const work = async (): Promise<void> => {
    fleet.setLeader(leadership.leader());
    await incidentLog.synchronise();
    if (leadership.epoch() !== undefined) void webhooks.deliver();
  };
  const run = oneAtATime(work, (error) => log.debug({ error }, 'leader.task_failed'));
  void run();
  // What is under way ends before the store is closed.
  stack.defer(run.settled);
  const tick = (): void => {
    // Looking never waits for the store.
    incidentLog.observe();
    void run();
  };
  stack.defer(every(WORK_MS, tick));
  const owned = stack.move();
  return {
    incidents,
    unsaved: () => incidentLog.unsaved(),
    note: (change) => incidentLog.note(change),
    find: store.find,
    days: chronicle.days,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

/** Calls that come while one is under way are not made; a failure is told and forgotten. */
const oneAtATime = (work: () => Promise<void>, onError: (error: unknown) => void) => {
  let running: Promise<void> | undefined;
  const run = (): Promise<void> => {
    running ??= work()
      .catch(onError)
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  return Object.assign(run, { settled: async () => void (await running) });
};

const startJourneys = (
  { config, world: { clock, log }, fleet, redis, keys, metrics }: LeaderTasksDeps,
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

const createLeadMetrics = (
  metrics: Metrics,
  leadership: { epoch(): number | undefined; leader(): { epoch: number } | null },
  open: () => readonly Incident[],
) => {
  const leads = metrics.gauge('fleet_leader').with({});
  const epoch = metrics.gauge('fleet_epoch').with({});
  const incidents = metrics.gauge('fleet_incidents_open');
  const notifications = metrics.counter('fleet_notifications_total');
  metrics.onCollect(() => {
    leads.set(leadership.epoch() === undefined ? 0 : 1);
    epoch.set(leadership.leader()?.epoch ?? 0);
    for (const severity of ['degraded', 'partial_outage', 'major_outage'] as const) {
      incidents.set({ severity }, open().filter((one) => one.severity === severity).length);
    }
  });
  return {
    delivered: (channel: number, result: string) => notifications.inc({ channel, result }),
  };
};
