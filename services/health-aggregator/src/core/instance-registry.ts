import { CorrelatedFailures, ExpectedInstances } from './expected-instances.ts';
import type { FlapDamping } from './flap-damping.ts';
import { type FailureThresholds, InstanceMonitor } from './instance-monitor.ts';
import type { ObservedHeartbeat, Transition } from './ports.ts';

/** The instances of one service that are being watched. */
export interface ServiceInstances {
  readonly monitors: Map<string, InstanceMonitor>;
  readonly expected: ExpectedInstances;
  readonly correlatedFailures: CorrelatedFailures;
  /** By instance name, so that it outlives restarts. Only those that fell lately. */
  readonly dampings: Map<string, FlapDamping>;
}

/** Who is known, by service. */
export interface InstanceRegistry {
  readonly services: ReadonlyMap<string, ServiceInstances>;
  /** Makes a service known that has no instance yet. */
  addService(service: string): void;
  /** Every watched instance. */
  all(): InstanceMonitor[];
  /** Takes a heartbeat: of a known instance, of a new one, or of a newer incarnation of one, which then ends. */
  recordHeartbeat(heartbeat: ObservedHeartbeat, beatAt: number, now: number): Transition | undefined;
}

/** Makes a roster that knows the expected services and nobody yet. */
export const createInstanceRegistry = (
  expected: Readonly<Record<string, number>>,
  patience: FailureThresholds,
): InstanceRegistry => {
  const groups = new Map<string, ServiceInstances>();
  const groupOf = (service: string): ServiceInstances => {
    let group = groups.get(service);
    if (!group) {
      group = {
        monitors: new Map(),
        expected: new ExpectedInstances(expected[service] ?? 0),
        correlatedFailures: new CorrelatedFailures(),
        dampings: new Map(),
      };
      groups.set(service, group);
    }
    return group;
  };
  for (const service of Object.keys(expected)) groupOf(service);

  return {
    services: groups,
    addService: (service) => void groupOf(service),
    all: () => [...groups.values()].flatMap(({ monitors: watches }) => [...watches.values()]),
    recordHeartbeat: (heartbeat, beatAt, now) => {
      const { monitors: watches } = groupOf(heartbeat.service);
      const watch = watches.get(heartbeat.id);
      if (watch) {
        watch.recordHeartbeat(heartbeat, beatAt);
        return undefined;
      }
      const rival = [...watches.values()].find(
        (other) => other.heartbeat.name === heartbeat.name || other.heartbeat.address === heartbeat.address,
      );
      // UUIDv7: the greater id was made later. A heartbeat of an older life is a process that does not know it is replaced.
      if (rival && rival.id > heartbeat.id) return undefined;
      const ended = rival?.end('superseded', now);
      if (rival) watches.delete(rival.id);
      watches.set(heartbeat.id, new InstanceMonitor(heartbeat, beatAt, now, patience));
      return ended;
    },
  };
};
