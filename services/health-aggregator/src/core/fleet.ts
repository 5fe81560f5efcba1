import type { Clock } from '@muster/kit/clock';
import { consensusOn, type DependencyConsensus } from './consensus.ts';
import { Damping } from './flap-damping.ts';
import { describeDependencies, describeService } from './fleet-description.ts';
import { type FleetSnapshot, type SyntheticCheckSnapshot, stableSnapshot } from './fleet-snapshot.ts';
import { FailureClock, impactOf } from './impact.ts';
import {
  type CheckIntervals,
  DEFAULT_THRESHOLDS,
  type FailureThresholds,
  type InstanceWatch,
} from './instance-monitor.ts';
import { createInstanceRegistry, type InstanceRegistry, type ServiceInstances } from './instance-registry.ts';
import type { ObservedHeartbeat, ProbeResult, ProbeTarget, RegistryReading, Transition } from './ports.ts';
import { RegistryTrust } from './registry-availability.ts';
import { type DependencyAssessment, fleetStatus, isServing } from './status.ts';
import { type SyntheticCheckOutcome, SyntheticCheckState } from './synthetic-check-state.ts';
import { type DiscoveredTarget, UnregisteredInstances } from './unregistered-instances.ts';

/** What this process says about itself; the registry is not needed for it. */
export type SelfReport = Omit<ObservedHeartbeat, 'beatAt'>;

/** The model of all instances: evidence goes in, states and verdicts come out. Pure: no I/O, no timers. */
export interface FleetState {
  /** Takes a successful reading of the registry. */
  registryRead(reading: RegistryReading): void;
  /** The registry could not be read. */
  registryLost(): void;
  /** Takes the addresses at which instances should be, by names and lists; those that beat are known already. */
  found(targets: readonly DiscoveredTarget[]): void;
  /** Takes the end of a probe of an instance; unknown ids are ignored. */
  probed(id: string, result: ProbeResult): void;
  /** Takes what this very process knows about itself. */
  report(self: SelfReport): void;
  /** What is known about journeys, to be shared with the other aggregators. */
  readonly journeys: SyntheticCheckState;
  /** Takes the end of a journey; undefined when nothing is known. */
  journeyed(outcome: SyntheticCheckOutcome | undefined): void;
  /** Tells who leads the aggregators. */
  ledBy(leader: FleetSnapshot['leader']): void;
  /** Draws all consequences; returns what changed. Call it often (each 100 ms). */
  tick(): readonly Transition[];
  /** Who is to be probed, and how often. */
  targets(): readonly ProbeTarget[];
  /** Everything, judged at this moment. Costs no I/O. */
  view(): FleetSnapshot;
  /** What everybody but one instance says about a dependency. */
  consensus(dependency: string, exceptId: string): DependencyConsensus;
  /** Every watched instance with its addresses, for service discovery and operators only. */
  members(): readonly InstanceWatch[];
}

/** Settings of the model. */
export interface FleetStateOptions {
  readonly clock: Clock;
  readonly name: string;
  readonly observer: { readonly name: string; readonly version: string; readonly startedAt: number };
  /** Instances that should be there, by service; services named here are required for the fleet to be healthy. */
  readonly expected: Readonly<Record<string, number>>;
  readonly staleAfterMs: number;
  readonly paces: CheckIntervals;
  readonly patience?: FailureThresholds;
}

/** Makes the model, empty: every required service is `unknown` until there is evidence. */
export const createFleetState = (options: FleetStateOptions): FleetState => {
  const { clock, expected } = options;
  const roster = createInstanceRegistry(expected, options.patience ?? DEFAULT_THRESHOLDS);
  const registry = new RegistryTrust();
  const strangers = new UnregisteredInstances();
  const pending: Transition[] = [];
  const journeys = new SyntheticCheckState();
  const troubles = new FailureClock();
  let version = 0;
  let substance = '';
  let leader: FleetSnapshot['leader'] = null;

  const take = (beat: ObservedHeartbeat, beatAt: number, now: number): void => {
    const ended = roster.take(beat, beatAt, now);
    if (ended) pending.push(ended);
  };

  return {
    registryRead: (reading) => {
      const now = clock.monotonic();
      registry.read(now);
      for (const beat of reading.beats) take(beat, now - Math.max(0, reading.now - beat.beatAt), now);
      for (const watch of roster.all()) watch.listed(reading.ids.has(watch.id));
    },
    registryLost: () => registry.lose(),
    found: (targets) => {
      for (const { service } of targets) roster.expect(service);
      strangers.found(targets, clock.monotonic());
    },
    probed: (id, result) => {
      const now = clock.monotonic();
      for (const { watches } of roster.groups.values()) watches.get(id)?.probed(result, now);
      strangers.probed(id, result, now);
    },
    report: (self) => {
      const now = clock.monotonic();
      take({ ...self, beatAt: clock.now() }, now, now);
    },
    journeys,
    journeyed: (outcome) => journeys.take(outcome, clock.monotonic()),
    ledBy: (next) => {
      leader = next;
    },
    tick: () => {
      const now = clock.monotonic();
      const beats = registry.beatsCount(now, roster.all());
      for (const group of roster.groups.values()) pending.push(...settleGroup(group, beats, now));
      return pending.splice(0);
    },
    targets: () => {
      const watches = roster.all();
      const frozen = registry.frozen(clock.monotonic(), watches);
      const ours = watches.map((watch) => ({
        id: watch.id,
        wantsDetail: frozen || watch.state !== 'up',
        service: watch.beat.service,
        address: watch.beat.address,
        opsAddress: watch.beat.opsAddress,
        periodMs: periodOf(watch, options.paces, frozen),
      }));
      return [...ours, ...strangers.targets(addressesOf(watches), options.paces.calmMs)];
    },
    view: () => {
      const draft = {
        ...describeFleet({ roster, registry, journeys, strangers, troubles }, options),
        leader,
      };
      const text = stableSnapshot(draft);
      if (text !== substance) version += 1;
      substance = text;
      return { ...draft, version };
    },
    consensus: (dependency, id) => consensusOn(dependency, id, roster.all(), clock.monotonic()),
    members: () => roster.all(),
  };
};

/** During a fault of a store news come from probes alone, so they come twice as often. */
const periodOf = (watch: InstanceWatch, paces: CheckIntervals, isFrozen: boolean): number => {
  const periodMs = watch.periodMs(paces);
  return isFrozen || watch.missesDependency ? Math.min(periodMs, paces.calmMs / 2) : periodMs;
};

const settleGroup = (group: ServiceInstances, beats: boolean, now: number): Transition[] => {
  const changes: Transition[] = [];
  const trust = { beats, hold: group.correlation.holds(now) };
  for (const watch of group.watches.values()) {
    const change = watch.evaluate(now, trust);
    if (!change) continue;
    changes.push(change);
    if (change.to === 'down') fall(group, change.name, now);
    if (change.to === 'suspect') group.correlation.suspected(watch.id, group.watches.size, now);
    if (change.to === 'gone') group.watches.delete(watch.id);
    if (change.to === 'gone' && change.why === 'left') group.membership.left();
  }
  for (const [name, damping] of group.dampings) if (damping.isOver(now)) group.dampings.delete(name);
  const serving = [...group.watches.values()].filter(({ state }) => isServing(state)).length;
  group.membership.serving(serving, now);
  return changes;
};

const fall = ({ dampings }: ServiceInstances, name: string, now: number): void => {
  const damping = dampings.get(name) ?? new Damping();
  damping.fell(now);
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

const addressesOf = (watches: readonly InstanceWatch[]): ReadonlySet<string> =>
  new Set(watches.map(({ beat }) => beat.address));

interface Knowledge {
  readonly roster: InstanceRegistry;
  readonly registry: RegistryTrust;
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
  const readableForMs = registry.readableFor(now);
  const known = addressesOf(watches);
  const services = [...roster.groups]
    .map(([service, group]) => {
      const found = strangers.views(service, known, now);
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
  const journey = journeyOf(journeys.view(now), Object.values(dependencies));
  const seen = { dependencies, services, ...(journey ? { journey } : {}) };
  return {
    fleet: options.name,
    status: fleetStatus(facts, staleAfterMs),
    version: 0,
    asOf: new Date(clock.now() - ageMs).toISOString(),
    ageMs: Math.round(ageMs),
    frozen: registry.frozen(now, watches),
    leader: null,
    observer: { ...observer, startedAt: new Date(observer.startedAt).toISOString() },
    impact: impactOf(seen, troubles, clock.now()),
    ...seen,
  };
};
