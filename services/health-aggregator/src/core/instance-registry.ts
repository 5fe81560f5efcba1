import { CorrelatedFailures, ExpectedInstances } from './expected-instances.ts';
import type { FlapDamping } from './flap-damping.ts';
import { type FailureThresholds, InstanceMonitor } from './instance-monitor.ts';
import type { ObservedHeartbeat, Transition } from './ports.ts';

/** The monitored instances of one service. */
export interface ServiceInstances {
  /** By instance id. */
  readonly monitors: Map<string, InstanceMonitor>;
  readonly expected: ExpectedInstances;
  readonly correlatedFailures: CorrelatedFailures;
  /** By instance name, so that damping survives restarts; only instances that failed recently. */
  readonly dampings: Map<string, FlapDamping>;
}

/** The monitored instances by service. */
export type InstanceRegistry = ReturnType<typeof createInstanceRegistry>;

/** Creates the registry with the expected services and without instances. */
export const createInstanceRegistry = (expected: Readonly<Record<string, number>>, thresholds: FailureThresholds) => {
  const services = new Map<string, ServiceInstances>();
  const addService = (service: string): ServiceInstances => {
    let instances = services.get(service);
    if (!instances) {
      instances = {
        monitors: new Map(),
        expected: new ExpectedInstances(expected[service] ?? 0),
        correlatedFailures: new CorrelatedFailures(),
        dampings: new Map(),
      };
      services.set(service, instances);
    }
    return instances;
  };
  for (const service of Object.keys(expected)) addService(service);

  return {
    services: services as ReadonlyMap<string, ServiceInstances>,
    /** Adds a service that has no instance yet; an existing service is unchanged. */
    addService,
    /** Every monitored instance. */
    all: (): InstanceMonitor[] => [...services.values()].flatMap(({ monitors }) => [...monitors.values()]),
    /** Records a heartbeat. That of a newer incarnation ends the monitor of the older, whose transition is returned. */
    recordHeartbeat: (heartbeat: ObservedHeartbeat, at: number, now: number): Transition | undefined => {
      const { monitors } = addService(heartbeat.service);
      const monitor = monitors.get(heartbeat.id);
      if (monitor) {
        monitor.recordHeartbeat(heartbeat, at);
        return undefined;
      }
      const replaced = [...monitors.values()].find(
        (other) => other.heartbeat.name === heartbeat.name || other.heartbeat.address === heartbeat.address,
      );
      // UUIDv7: the greater id is newer. A heartbeat of an older incarnation comes from a replaced process.
      if (replaced && replaced.id > heartbeat.id) return undefined;
      const transition = replaced?.end('superseded', now);
      if (replaced) monitors.delete(replaced.id);
      monitors.set(heartbeat.id, new InstanceMonitor(heartbeat, at, now, thresholds));
      return transition;
    },
  };
};
