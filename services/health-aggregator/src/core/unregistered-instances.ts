import type { InstanceSnapshot } from './fleet-snapshot.ts';
import type { InstanceState, ProbeResult, ProbeTarget } from './ports.ts';

const PROBE_FRESH_MS = 15_000;

/** An address that a name or a list led to, where an instance of a service should be. */
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
 * Instances that were found by their address and do not heartbeat: most often their registry is another one. They are probed, and
 * shown as `unregistered`, never as well; whoever begins to heartbeat is a stranger no more.
 */
export class UnregisteredInstances {
  readonly #byId = new Map<string, UnregisteredInstance>();

  /** Takes all that is found now; what is found no more is forgotten. */
  recordDiscoveredTargets(probeTargets: readonly DiscoveredTarget[], now: number): void {
    const ids = new Set<string>();
    for (const { service, address } of probeTargets) {
      const id = `found:${service}:${address}`;
      ids.add(id);
      if (!this.#byId.has(id)) this.#byId.set(id, { id, service, address, since: now });
    }
    for (const id of this.#byId.keys()) if (!ids.has(id)) this.#byId.delete(id);
  }

  /** Takes the end of a probe; those of others are ignored. */
  recordProbe(id: string, result: ProbeResult, now: number): void {
    const stranger = this.#byId.get(id);
    if (stranger) this.#byId.set(id, { ...stranger, probe: { result, at: now } });
  }

  /** Those whose address is not among the known ones. */
  except(known: ReadonlySet<string>): UnregisteredInstance[] {
    return [...this.#byId.values()].filter(({ address }) => !known.has(address));
  }

  targets(known: ReadonlySet<string>, periodMs: number): ProbeTarget[] {
    return this.except(known).map(({ id, service, address }) => ({
      ...{ id, service, address, periodMs },
      // Its ops port is not known.
      opsAddress: address,
      wantsDetail: false,
    }));
  }

  /** How those of a service are shown. Addresses are nobody's business, so they are numbered. */
  snapshots(service: string, known: ReadonlySet<string>, now: number): InstanceSnapshot[] {
    return this.except(known)
      .filter((stranger) => stranger.service === service)
      .sort((a, b) => a.address.localeCompare(b.address))
      .map((stranger, index) => viewOf(stranger, `${service}-unregistered-${index + 1}`, now));
  }
}

const viewOf = ({ since, probe }: UnregisteredInstance, name: string, now: number): InstanceSnapshot => {
  const [state, why] = stateOf(probe, now);
  return {
    ...{ id: name, name, state, why, forMs: Math.round(now - since), version: '', load: {} },
    // Neither is known.
    startedAt: new Date(0).toISOString(),
    beatAgeMs: Math.round(now - since),
    ...(probe
      ? {
          probe: {
            outcome: probe.result.outcome,
            durationMs: Math.round(probe.result.durationMs * 10) / 10,
            ageMs: Math.round(now - probe.at),
          },
        }
      : {}),
  };
};

const stateOf = (probe: UnregisteredInstance['probe'], now: number): [InstanceState, string] => {
  if (!probe || now - probe.at > PROBE_FRESH_MS) return ['starting', 'unregistered'];
  return probe.result.outcome === 'ok' ? ['degraded', 'unregistered'] : ['down', probe.result.outcome];
};
