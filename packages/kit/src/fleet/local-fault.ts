import { type Clock, every, type Stop } from '../clock.ts';
import type { Health } from '../health.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { Random } from '../runtime.ts';
import type { InstanceIdentity } from './instance.ts';

/** Answer of an aggregator: the state of a dependency as other processes report it. */
export interface Consensus {
  /** Other processes that report the dependency, and how many of them cannot reach it. */
  readonly observers: number;
  readonly failing: number;
  /** True when the process may become unready. */
  readonly granted: boolean;
}

/** Running detection of local faults; disposing stops it. */
export type LocalFault = Disposable;

export interface LocalFaultDeps {
  readonly health: Health;
  readonly instance: InstanceIdentity;
  /** Base URLs of aggregators; without any, every fault counts as shared. */
  readonly aggregators: readonly string[];
  /** Time for which a dependency is down before an aggregator is queried, in ms. */
  readonly afterMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called when the process becomes unready and ready again; for services that migrate their clients. */
  readonly onChange?: (isLocal: boolean) => void;
}

const CHECK_MS = 250;
const QUERY_TIMEOUT_MS = 300;
const QUERY_INTERVAL_MS = 2_000;
/** Answers without a grant before a local fault ends: a single lost answer does not suffice. */
const MAX_DENIALS = 2;

/**
 * Makes this process unready while it is the only one that cannot reach a dependency. A fault that others share, or on which no
 * aggregator answers, changes nothing: with every replica unready no client would be served.
 */
export const watchLocalFaults = (deps: LocalFaultDeps): LocalFault => {
  const { health, clock, log, aggregators } = deps;
  const gauge = deps.metrics.gauge('service_local_fault');
  const faults = health.required.map((dependency) => new Fault(dependency));
  for (const { dependency } of faults) gauge.set({ dependency }, 0);
  let isStopped = false;

  const settle = (fault: Fault, isLocal: boolean): void => {
    if (isStopped || fault.isLocal === isLocal) return;
    fault.isLocal = isLocal;
    gauge.set({ dependency: fault.dependency }, isLocal ? 1 : 0);
    log.warn({ dependency: fault.dependency }, isLocal ? 'health.local_fault' : 'health.local_fault_resolved');
    const before = health.blamed();
    const now = faults.find((each) => each.isLocal)?.dependency;
    health.blame(now);
    if ((before === undefined) !== (now === undefined)) deps.onChange?.(now !== undefined);
  };
  const query = async (fault: Fault): Promise<void> => {
    const consensus = await queryConsensus(deps, fault.dependency);
    if (consensus?.granted) fault.denials = 0;
    else fault.denials += 1;
    if (fault.downSince !== undefined) settle(fault, fault.isLocal ? fault.denials < MAX_DENIALS : fault.denials === 0);
  };
  const check = (fault: Fault): void => {
    const now = clock.monotonic();
    if (health.dependency(fault.dependency).status === 'up') {
      fault.downSince = undefined;
      settle(fault, false);
      return;
    }
    fault.downSince ??= now;
    if (now - fault.downSince < deps.afterMs || now < fault.nextQueryAt || fault.isQuerying) return;
    fault.isQuerying = true;
    // Jitter: processes that fail together do not query together.
    fault.nextQueryAt = now + QUERY_INTERVAL_MS * (0.75 + deps.random.fraction() / 2);
    void query(fault).finally(() => {
      fault.isQuerying = false;
    });
  };
  const stop: Stop = aggregators.length === 0 ? () => {} : every(CHECK_MS, () => faults.forEach(check));
  return {
    [Symbol.dispose]: () => {
      isStopped = true;
      stop();
    },
  };
};

/** State of one dependency. */
class Fault {
  readonly dependency: string;
  downSince: number | undefined = undefined;
  nextQueryAt = 0;
  isQuerying = false;
  denials = 0;
  isLocal = false;

  constructor(dependency: string) {
    this.dependency = dependency;
  }
}

/** Answer of the first aggregator that responds; undefined if none does. */
const queryConsensus = async (
  { aggregators, instance, random }: LocalFaultDeps,
  dependency: string,
): Promise<Consensus | undefined> => {
  const first = Math.floor(random.fraction() * aggregators.length);
  const rotated = [...aggregators.slice(first), ...aggregators.slice(0, first)];
  for (const url of rotated) {
    try {
      const path = `/v1/deps/${encodeURIComponent(dependency)}/consensus?except=${instance.id}`;
      const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(QUERY_TIMEOUT_MS) });
      if (response.ok) return (await response.json()) as Consensus;
      await response.body?.cancel();
    } catch {
      // Try the next aggregator.
    }
  }
  return undefined;
};
