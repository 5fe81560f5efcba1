import type { Clock } from '@muster/kit/clock';
import { type DependencyConsensus, dependencyConsensus } from './consensus.ts';
import { FlapDamping } from './flap-damping.ts';
import {
  type FleetSnapshot,
  type SyntheticCheckSnapshot,
  snapshotDependencies,
  snapshotService,
  stableSnapshot,
} from './fleet-snapshot.ts';
import { FailureTimes, impactOf } from './impact.ts';
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

/** Settings of the model. */
export interface FleetStateOptions {
  readonly clock: Clock;
  readonly name: string;
  readonly observer: { readonly name: string; readonly version: string; readonly startedAt: number };
  /** Least number of instances by service; the fleet is healthy only if all of these services are. */
  readonly expected: Readonly<Record<string, number>>;
  readonly staleAfterMs: number;
  readonly checkIntervals: CheckIntervals;
  readonly thresholds?: FailureThresholds;
}

/** Report of this process about itself, without the registry. */
export type SelfReport = Omit<ObservedHeartbeat, 'beatAt'>;

/** The model of the fleet. */
export type FleetState = ReturnType<typeof createFleetState>;

/**
 * The model of the fleet: evidence in, states and snapshots out. Pure: no I/O, no timers. It starts empty, with every required
 * service `unknown` until there is evidence.
 */
export const createFleetState = (options: FleetStateOptions) => {
  const { clock, checkIntervals } = options;
  const instances = createInstanceRegistry(options.expected, options.thresholds ?? DEFAULT_THRESHOLDS);
  const registry = new RegistryAvailability();
  const unregistered = new UnregisteredInstances();
  const syntheticCheck = new SyntheticCheckState();
  const failureTimes = new FailureTimes();
  const model: FleetModel = { instances, registry, unregistered, syntheticCheck, failureTimes };
  const ended: Transition[] = [];
  const versionOf = createVersionCounter();
  let leader: FleetSnapshot['leader'] = null;

  return {
    ...createObservations(model, clock, ended),
    /** The state of the synthetic check, shared between aggregators. */
    syntheticCheck,
    /** Records the outcome of a synthetic check; undefined when nothing is known. */
    recordSyntheticCheck: (outcome: SyntheticCheckOutcome | undefined) =>
      syntheticCheck.recordOutcome(outcome, clock.monotonic()),
    setLeader: (next: FleetSnapshot['leader']) => {
      leader = next;
    },
    /** Evaluates all evidence and returns the transitions. Call it every 100 ms or more often. */
    tick: (): readonly Transition[] => {
      const now = clock.monotonic();
      const isReliable = registry.areHeartbeatsReliable(now, instances.all());
      for (const service of instances.services.values()) ended.push(...evaluateService(service, isReliable, now));
      return ended.splice(0);
    },
    /** Instances to probe, each with its interval. */
    probeTargets: (): readonly ProbeTarget[] => probeTargetsOf(model, checkIntervals, clock.monotonic()),
    /** The state of the fleet at this moment. Costs no I/O. */
    snapshot: (): FleetSnapshot => {
      const unversioned = { ...snapshotFleet(model, options), leader };
      return { ...unversioned, version: versionOf(stableSnapshot(unversioned)) };
    },
    /** Compares the reports of one instance on a dependency with those of all others. */
    consensus: (dependency: string, id: string): DependencyConsensus =>
      dependencyConsensus(dependency, id, instances.all(), clock.monotonic()),
    /** Every monitored instance with its addresses, for service discovery and operators only. */
    monitors: (): readonly InstanceMonitor[] => instances.all(),
  };
};

interface FleetModel {
  readonly instances: InstanceRegistry;
  readonly registry: RegistryAvailability;
  readonly unregistered: UnregisteredInstances;
  readonly syntheticCheck: SyntheticCheckState;
  readonly failureTimes: FailureTimes;
}

const createVersionCounter = () => {
  let version = 0;
  let last = '';
  return (text: string): number => {
    if (text !== last) version += 1;
    last = text;
    return version;
  };
};

/** Records evidence; replaced incarnations are added to `ended`. */
const createObservations = ({ instances, registry, unregistered }: FleetModel, clock: Clock, ended: Transition[]) => {
  const recordHeartbeat = (heartbeat: ObservedHeartbeat, at: number, now: number): void => {
    const replaced = instances.recordHeartbeat(heartbeat, at, now);
    if (replaced) ended.push(replaced);
  };
  return {
    /** Records a successful read of the registry. */
    recordRegistryRead: ({ now: registryNow, heartbeats, ids }: RegistryReading): void => {
      const now = clock.monotonic();
      registry.recordRead(now);
      for (const heartbeat of heartbeats)
        recordHeartbeat(heartbeat, now - Math.max(0, registryNow - heartbeat.beatAt), now);
      for (const monitor of instances.all()) monitor.recordListing(ids.has(monitor.id));
    },
    recordRegistryFailure: (): void => registry.recordFailure(),
    /** Records the addresses of `TARGETS`; registered instances among them are ignored. */
    recordDiscoveredTargets: (targets: readonly DiscoveredTarget[]): void => {
      for (const { service } of targets) instances.addService(service);
      unregistered.recordDiscoveredTargets(targets, clock.monotonic());
    },
    /** Records the result of a probe; unknown ids are ignored. */
    recordProbe: (id: string, result: ProbeResult): void => {
      const now = clock.monotonic();
      for (const { monitors } of instances.services.values()) monitors.get(id)?.recordProbe(result, now);
      unregistered.recordProbe(id, result, now);
    },
    /** Records what this process reports about itself. */
    recordSelfReport: (self: SelfReport): void => {
      const now = clock.monotonic();
      recordHeartbeat({ ...self, beatAt: clock.now() }, now, now);
    },
  };
};

const probeTargetsOf = (
  { instances, registry, unregistered }: FleetModel,
  intervals: CheckIntervals,
  now: number,
): readonly ProbeTarget[] => {
  const monitors = instances.all();
  const isFrozen = registry.isFrozen(now, monitors);
  const registered = monitors.map((monitor) => ({
    id: monitor.id,
    wantsDetail: isFrozen || monitor.state !== 'up',
    service: monitor.heartbeat.service,
    address: monitor.heartbeat.address,
    opsAddress: monitor.heartbeat.opsAddress,
    periodMs: probePeriodMs(monitor, intervals, isFrozen),
  }));
  return [...registered, ...unregistered.probeTargets(addressesOf(monitors), intervals.normalMs)];
};

/** During a fault of a store probes are the only evidence, so the interval is halved. */
const probePeriodMs = (monitor: InstanceMonitor, intervals: CheckIntervals, isFrozen: boolean): number => {
  const periodMs = monitor.probePeriodMs(intervals);
  return isFrozen || monitor.missesDependency ? Math.min(periodMs, intervals.normalMs / 2) : periodMs;
};

const evaluateService = (
  { monitors, dampings, correlatedFailures, expected }: ServiceInstances,
  areHeartbeatsReliable: boolean,
  now: number,
): Transition[] => {
  const transitions: Transition[] = [];
  const policy = { areHeartbeatsReliable, holdsDown: correlatedFailures.isHolding(now) };
  for (const monitor of monitors.values()) {
    const transition = monitor.evaluate(now, policy);
    if (!transition) continue;
    transitions.push(transition);
    const { name, to, why } = transition;
    if (to === 'down') recordFailure(dampings, name, now);
    if (to === 'suspect') correlatedFailures.recordSuspect(monitor.id, monitors.size, now);
    if (to === 'gone') monitors.delete(monitor.id);
    if (to === 'gone' && why === 'left') expected.recordLeave();
  }
  for (const [name, damping] of dampings) if (damping.isForgettable(now)) dampings.delete(name);
  expected.recordServing([...monitors.values()].filter(({ state }) => isServing(state)).length, now);
  return transitions;
};

const recordFailure = (dampings: ServiceInstances['dampings'], name: string, now: number): void => {
  const damping = dampings.get(name) ?? new FlapDamping();
  damping.recordFailure(now);
  dampings.set(name, damping);
};

/** A check that succeeded before the fault of a store does not describe the present state. */
const presentCheck = (
  check: SyntheticCheckSnapshot | undefined,
  stores: readonly DependencyAssessment[],
): SyntheticCheckSnapshot | undefined => {
  const isOlder = stores.some(
    ({ status, forMs = 0 }) =>
      (status === 'down' || status === 'degraded') && forMs <= (check?.ageMs ?? Number.POSITIVE_INFINITY),
  );
  return check?.status === 'ok' && isOlder ? undefined : check;
};

const addressesOf = (monitors: readonly InstanceMonitor[]): ReadonlySet<string> =>
  new Set(monitors.map(({ heartbeat }) => heartbeat.address));

const snapshotFleet = (
  { instances, registry, unregistered, syntheticCheck, failureTimes }: FleetModel,
  { clock, name, expected, staleAfterMs, observer }: FleetStateOptions,
): FleetSnapshot => {
  const now = clock.monotonic();
  const monitors = instances.all();
  const readableForMs = registry.readableForMs(now);
  const registered = addressesOf(monitors);
  const services = [...instances.services]
    .map(([service, group]) => {
      const found = unregistered.snapshots(service, registered, now);
      return snapshotService(service, group, { now, staleAfterMs, readableForMs, unregistered: found });
    })
    .sort((a, b) => a.service.localeCompare(b.service));
  const evidence = [registry.readAt, ...monitors.map(({ probe }) => probe?.at)].filter((at) => at !== undefined);
  // Without any evidence the age is that of the observer: the greatest possible.
  const ageMs = evidence.length === 0 ? clock.now() - observer.startedAt : now - Math.max(...evidence);
  const dependencies = snapshotDependencies(monitors, now);
  const isRequired = (service: string): boolean => (expected[service] ?? 0) > 0;
  const facts = {
    required: services.filter(({ service }) => isRequired(service)).map(({ status }) => status),
    others: services.filter(({ service }) => !isRequired(service)).map(({ status }) => status),
    dependencies: Object.values(dependencies).map(({ status }) => status),
    hasEvidence: evidence.length > 0,
    isSyntheticCheckFailing: syntheticCheck.isFailing(now),
    ageMs,
  };
  const journey = presentCheck(syntheticCheck.snapshot(now), Object.values(dependencies));
  const observed = { dependencies, services, ...(journey ? { journey } : {}) };
  return {
    fleet: name,
    status: fleetStatus(facts, staleAfterMs),
    version: 0,
    asOf: new Date(clock.now() - ageMs).toISOString(),
    ageMs: Math.round(ageMs),
    frozen: registry.isFrozen(now, monitors),
    leader: null,
    observer: { ...observer, startedAt: new Date(observer.startedAt).toISOString() },
    impact: impactOf(observed, failureTimes, clock.now()),
    ...observed,
  };
};
