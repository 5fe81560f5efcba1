import { type InstanceSnapshot, probeSnapshot } from './fleet-snapshot.ts';
import type { InstanceState, ProbeResult, ProbeTarget } from './ports.ts';

const PROBE_FRESH_MS = 15_000;

/** An address of `TARGETS` where an instance of a service should be. */
export interface DiscoveredTarget {
  readonly service: string;
  /** `host:port` of the public port. */
  readonly address: string;
}

interface UnregisteredInstance extends DiscoveredTarget {
  readonly id: string;
  readonly since: number;
  readonly probe?: { readonly result: ProbeResult; readonly at: number };
}

/**
 * Instances that were discovered by their address and send no heartbeats, most often because they use another registry. They are
 * probed and shown as `unregistered`, never as healthy. An instance that sends heartbeats is monitored instead.
 */
export class UnregisteredInstances {
  readonly #byId = new Map<string, UnregisteredInstance>();

  /** Replaces the discovered addresses; what is known about the remaining addresses is kept. */
  recordDiscoveredTargets(targets: readonly DiscoveredTarget[], now: number): void {
    const ids = new Set<string>();
    for (const { service, address } of targets) {
      const id = `found:${service}:${address}`;
      ids.add(id);
      if (!this.#byId.has(id)) this.#byId.set(id, { id, service, address, since: now });
    }
    for (const id of this.#byId.keys()) if (!ids.has(id)) this.#byId.delete(id);
  }

  /** Records the result of a probe; unknown ids are ignored. */
  recordProbe(id: string, result: ProbeResult, now: number): void {
    const instance = this.#byId.get(id);
    if (instance) this.#byId.set(id, { ...instance, probe: { result, at: now } });
  }

  /** `registered`: addresses of instances that send heartbeats. */
  probeTargets(registered: ReadonlySet<string>, periodMs: number): ProbeTarget[] {
    return this.#except(registered).map(({ id, service, address }) => ({
      ...{ id, service, address, periodMs },
      // The ops address is unknown.
      opsAddress: address,
      wantsDetail: false,
    }));
  }

  /** Numbered, because addresses are not public. */
  snapshots(service: string, registered: ReadonlySet<string>, now: number): InstanceSnapshot[] {
    return this.#except(registered)
      .filter((instance) => instance.service === service)
      .sort((a, b) => a.address.localeCompare(b.address))
      .map((instance, index) => snapshotOf(instance, `${service}-unregistered-${index + 1}`, now));
  }

  #except(registered: ReadonlySet<string>): UnregisteredInstance[] {
    return [...this.#byId.values()].filter(({ address }) => !registered.has(address));
  }
}

const snapshotOf = ({ since, probe }: UnregisteredInstance, name: string, now: number): InstanceSnapshot => {
  const [state, why] = stateOf(probe, now);
  return {
    ...{ id: name, name, state, why, forMs: Math.round(now - since), version: '', load: {} },
    // Neither is known.
    startedAt: new Date(0).toISOString(),
    beatAgeMs: Math.round(now - since),
    ...probeSnapshot(probe, now),
  };
};

const stateOf = (probe: UnregisteredInstance['probe'], now: number): [InstanceState, string] => {
  if (!probe || now - probe.at > PROBE_FRESH_MS) return ['starting', 'unregistered'];
  return probe.result.outcome === 'ok' ? ['degraded', 'unregistered'] : ['down', probe.result.outcome];
};
