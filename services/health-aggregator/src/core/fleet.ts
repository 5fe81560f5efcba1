import type { Clock } from '@muster/kit/clock';
import { type DependencyConsensus, dependencyConsensus } from './consensus.ts';
import { FlapDamping } from './flap-damping.ts';
import { describeDependencies, describeService } from './fleet-description.ts';
import { type FleetSnapshot, type SyntheticCheckSnapshot, stableSnapshot } from './fleet-snapshot.ts';
import { FailureClock, impactOf } from './impact.ts';
import {
  type CheckIntervals,
  DEFAULT_THRESHOLDS,
  type FailureThresholds,
  type InstanceMonitor,
} from './instance-monitor.ts';
import { createInstanceRegistry, type InstanceRegistry, type ServiceInstances } from './instance-registry.ts';
import type { ObservedHeartbeat, ProbeResult, ProbeTarget, RegistryReading, Transition } from './ports.ts';
import { RegistryAvailability } from './registry-availability.ts';
import { type DependencyAssessment, fleetStatus, isServing } from './status.ts';
import { type SyntheticCheckOutcome, SyntheticCheckState } from './synthetic-check-state.ts';
import { type DiscoveredTarget, UnregisteredInstances } from './unregistered-instances.ts';

/** What this process says about itself; the registry is not needed for it. */
export type SelfReport = Omit<ObservedHeartbeat, 'beatAt'>;

/** The model of all instances: evidence goes in, states and verdicts come out. Pure: no I/O, no timers. */
export interface FleetState {
  /** Takes a successful reading of the registry. */
  recordRegistryRead(reading: RegistryReading): void;
  /** The registry could not be read. */
  recordRegistryFailure(): void;
  /** Takes the addresses at which instances should be, by names and lists; those that heartbeat are known already. */
  recordDiscoveredTargets(probeTargets: readonly DiscoveredTarget[]): void;
  /** Takes the end of a probe of an instance; unknown ids are ignored. */
  recordProbe(id: string, result: ProbeResult): void;
  /** Takes what this very process knows about itself. */
  recordSelfReport(self: SelfReport): void;
  /** What is known about journeys, to be shared with the other aggregators. */
  readonly syntheticCheck: SyntheticCheckState;
  /** Takes the end of a journey; undefined when nothing is known. */
  recordSyntheticCheck(outcome: SyntheticCheckOutcome | undefined): void;
  /** Tells who leads the aggregators. */
  setLeader(leader: FleetSnapshot['leader']): void;
  /** Draws all consequences; returns what changed. Call it often (each 100 ms). */
  tick(): readonly Transition[];
  /** Who is to be probed, and how often. */
  targets(): readonly ProbeTarget[];
  /** Everything, judged at this moment. Costs no I/O. */
  snapshot(): FleetSnapshot;
  /** What everybody but one instance says about a dependency. */
  consensus(dependency: string, exceptId: string): DependencyConsensus;
  /** Every watched instance with its addresses, for service discovery and operators only. */
  monitors(): readonly InstanceMonitor[];
}

/** Settings of the model. */
export interface FleetStateOptions {
  readonly clock: Clock;
  readonly name: string;
  readonly observer: { readonly name: string; readonly version: string; readonly startedAt: number };
  /** Instances that should be there, by service; services named here are required for the fleet to be healthy. */
  readonly expected: Readonly<Record<string, number>>;
  readonly staleAfterMs: number;
  readonly checkIntervals: CheckIntervals;
  readonly thresholds?: FailureThresholds;
}

/** Makes the model, empty: every required service is `unknown` until there is evidence. */
export const createFleetState = (options: FleetStateOptions): FleetState => {
  const { clock, expected } = options;
  const roster = createInstanceRegistry(expected, options.thresholds ?? DEFAULT_THRESHOLDS);
  const registry = new RegistryAvailability();
  const strangers = new UnregisteredInstances();
  const pending: Transition[] = [];
  const journeys = new SyntheticCheckState();
  const troubles = new FailureClock();
  let version = 0;
  let substance = '';
  let leader: FleetSnapshot['leader'] = null;

  const take = (heartbeat: ObservedHeartbeat, beatAt: number, now: number): void => {
    const ended = roster.recordHeartbeat(heartbeat, beatAt, now);
    if (ended) pending.push(ended);
  };

  return {
    recordRegistryRead: (reading) => {
      const now = clock.monotonic();
      registry.recordRead(now);
      for (const heartbeat of reading.heartbeats)
        take(heartbeat, now - Math.max(0, reading.now - heartbeat.beatAt), now);
      for (const watch of roster.all()) watch.recordListing(reading.ids.has(watch.id));
    },
    recordRegistryFailure: () => registry.recordFailure(),
    recordDiscoveredTargets: (targets) => {
      for (const { service } of targets) roster.addService(service);
      strangers.recordDiscoveredTargets(targets, clock.monotonic());
    },
    recordProbe: (id, result) => {
      const now = clock.monotonic();
      for (const { monitors: watches } of roster.services.values()) watches.get(id)?.recordProbe(result, now);
      strangers.recordProbe(id, result, now);
    },
    recordSelfReport: (self) => {
      const now = clock.monotonic();
      take({ ...self, beatAt: clock.now() }, now, now);
    },
    syntheticCheck: journeys,
    recordSyntheticCheck: (outcome) => journeys.recordOutcome(outcome, clock.monotonic()),
    setLeader: (next) => {
      leader = next;
    },
    tick: () => {
      const now = clock.monotonic();
      const heartbeats = registry.areHeartbeatsReliable(now, roster.all());
      for (const group of roster.services.values()) pending.push(...settleGroup(group, heartbeats, now));
      return pending.splice(0);
    },
    targets: () => {
      const watches = roster.all();
      const frozen = registry.isFrozen(clock.monotonic(), watches);
      const ours = watches.map((watch) => ({
        id: watch.id,
        wantsDetail: frozen || watch.state !== 'up',
        service: watch.heartbeat.service,
        address: watch.heartbeat.address,
        opsAddress: watch.heartbeat.opsAddress,
        periodMs: periodOf(watch, options.checkIntervals, frozen),
      }));
      return [...ours, ...strangers.targets(addressesOf(watches), options.checkIntervals.normalMs)];
    },
    snapshot: () => {
      const draft = {
        ...describeFleet({ roster, registry, journeys, strangers, troubles }, options),
        leader,
      };
      const text = stableSnapshot(draft);
      if (text !== substance) version += 1;
      substance = text;
      return { ...draft, version };
    },
    consensus: (dependency, id) => dependencyConsensus(dependency, id, roster.all(), clock.monotonic()),
    monitors: () => roster.all(),
  };
};

/** During a fault of a store news come from probes alone, so they come twice as often. */
const periodOf = (watch: InstanceMonitor, paces: CheckIntervals, isFrozen: boolean): number => {
  const periodMs = watch.probePeriodMs(paces);
  return isFrozen || watch.missesDependency ? Math.min(periodMs, paces.normalMs / 2) : periodMs;
};

const settleGroup = (group: ServiceInstances, heartbeats: boolean, now: number): Transition[] => {
  const changes: Transition[] = [];
  const trust = { areHeartbeatsReliable: heartbeats, holdsDown: group.correlatedFailures.isHolding(now) };
  for (const watch of group.monitors.values()) {
    const change = watch.evaluate(now, trust);
    if (!change) continue;
    changes.push(change);
    if (change.to === 'down') fall(group, change.name, now);
    if (change.to === 'suspect') group.correlatedFailures.recordSuspect(watch.id, group.monitors.size, now);
    if (change.to === 'gone') group.monitors.delete(watch.id);
    if (change.to === 'gone' && change.why === 'left') group.expected.recordLeave();
  }
  for (const [name, damping] of group.dampings) if (damping.isForgettable(now)) group.dampings.delete(name);
  const serving = [...group.monitors.values()].filter(({ state }) => isServing(state)).length;
  group.expected.recordServing(serving, now);
  return changes;
};

const fall = ({ dampings }: ServiceInstances, name: string, now: number): void => {
  const damping = dampings.get(name) ?? new FlapDamping();
  damping.recordFailure(now);
  dampings.set(name, damping);
};

/** Whether a test message arrived before the fault of a store began says nothing about now. */
const journeyOf = (
  journey: SyntheticCheckSnapshot | undefined,
  stores: readonly DependencyAssessment[],
): SyntheticCheckSnapshot | undefined => {
  const isOlder = stores.some(
    ({ status, forMs = 0 }) =>
      (status === 'down' || status === 'degraded') && forMs <= (journey?.ageMs ?? Number.POSITIVE_INFINITY),
  );
  return journey?.status === 'ok' && isOlder ? undefined : journey;
};

const addressesOf = (watches: readonly InstanceMonitor[]): ReadonlySet<string> =>
  new Set(watches.map(({ heartbeat }) => heartbeat.address));

interface Knowledge {
  readonly roster: InstanceRegistry;
  readonly registry: RegistryAvailability;
  readonly journeys: SyntheticCheckState;
  readonly strangers: UnregisteredInstances;
  readonly troubles: FailureClock;
}

const describeFleet = (
  { roster, registry, journeys, strangers, troubles }: Knowledge,
  options: FleetStateOptions,
): FleetSnapshot => {
  const { clock, expected, staleAfterMs, observer } = options;
  const now = clock.monotonic();
  const watches = roster.all();
  const readableForMs = registry.readableForMs(now);
  const known = addressesOf(watches);
  const services = [...roster.services]
    .map(([service, group]) => {
      const found = strangers.snapshots(service, known, now);
      return describeService(service, group, { now, staleAfterMs, readableForMs, found });
    })
    .sort((a, b) => a.service.localeCompare(b.service));
  const evidence = [registry.readAt, ...watches.map(({ probe }) => probe?.at)].filter(
    (at) => at !== undefined,
  );
  // Without any evidence the age is that of the observer: as old as it can be.
  const ageMs = evidence.length === 0 ? clock.now() - observer.startedAt : now - Math.max(...evidence);
  const dependencies = describeDependencies(watches, now);
  const isRequired = (service: string): boolean => (expected[service] ?? 0) > 0;
  const facts = {
    required: services.filter(({ service }) => isRequired(service)).map(({ status }) => status),
    others: services.filter(({ service }) => !isRequired(service)).map(({ status }) => status),
    dependencies: Object.values(dependencies).map(({ status }) => status),
    known: evidence.length > 0,
    journeyFails: journeys.isFailing(now),
    ageMs,
  };
  const journey = journeyOf(journeys.snapshot(now), Object.values(dependencies));
  const seen = { dependencies, services, ...(journey ? { journey } : {}) };
  return {
    fleet: options.name,
    status: fleetStatus(facts, staleAfterMs),
    version: 0,
    asOf: new Date(clock.now() - ageMs).toISOString(),
    ageMs: Math.round(ageMs),
    frozen: registry.isFrozen(now, watches),
    leader: null,
    observer: { ...observer, startedAt: new Date(observer.startedAt).toISOString() },
    impact: impactOf(seen, troubles, clock.now()),
    ...seen,
  };
};
