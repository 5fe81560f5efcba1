import { type Clock, every, type Stop } from '../clock.ts';
import type { Health } from '../health.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { Random } from '../runtime.ts';
import type { InstanceIdentity } from './instance.ts';

/** What an aggregator answers to "is it only me?". */
export interface Consensus {
  /** Others that report on the dependency, and how many of them cannot reach it. */
  readonly observers: number;
  readonly failing: number;
  /** Whether the one that asks may leave the pool. */
  readonly granted: boolean;
}

/** Asks the fleet whether a fault is ours alone. Disposing stops it. */
export type LocalFault = Disposable;

export interface LocalFaultDeps {
  readonly health: Health;
  readonly instance: InstanceIdentity;
  /** Base URLs of aggregators; with none every fault is presumed to be shared. */
  readonly aggregators: readonly string[];
  /** How long a dependency must be down before anybody is asked, ms. */
  readonly afterMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Told when we leave the pool and when we are back; for services that hand their clients over. */
  readonly onChange?: (isMine: boolean) => void;
}

const LOOK_MS = 250;
const ASK_LIMIT_MS = 300;
const ASK_EVERY_MS = 2_000;
/** Answers that speak against it before we are back: one lost answer is none. */
const DOUBTS = 2;

/**
 * A dependency that only this process cannot reach is a fault of this process: it leaves the pool, while the others serve. A
 * fault that others share, or that nobody can judge, changes nothing: out of the pool with everybody else would help nobody.
 */
export const watchLocalFaults = (deps: LocalFaultDeps): LocalFault => {
  const { health, clock, log, aggregators } = deps;
  const gauge = deps.metrics.gauge('service_local_fault');
  const faults = health.required.map((dependency) => new Fault(dependency));
  for (const { dependency } of faults) gauge.set({ dependency }, 0);
  let isStopped = false;

  const settle = (fault: Fault, isMine: boolean): void => {
    if (isStopped || fault.isMine === isMine) return;
    fault.isMine = isMine;
    gauge.set({ dependency: fault.dependency }, isMine ? 1 : 0);
    log.warn({ dependency: fault.dependency }, isMine ? 'health.local_fault' : 'health.local_fault_resolved');
    const before = health.blamed();
    const now = faults.find((one) => one.isMine)?.dependency;
    health.blame(now);
    if ((before === undefined) !== (now === undefined)) deps.onChange?.(now !== undefined);
  };
  const question = async (fault: Fault): Promise<void> => {
    const consensus = await ask(deps, fault.dependency);
    if (consensus?.granted) fault.doubts = 0;
    else fault.doubts += 1;
    if (fault.downSince !== undefined)
      settle(fault, fault.isMine ? fault.doubts < DOUBTS : fault.doubts === 0);
  };
  const look = (fault: Fault): void => {
    const now = clock.monotonic();
    if (health.dependency(fault.dependency).status === 'up') {
      fault.downSince = undefined;
      settle(fault, false);
      return;
    }
    fault.downSince ??= now;
    if (now - fault.downSince < deps.afterMs || now < fault.askAt || fault.isAsking) return;
    fault.isAsking = true;
    // Many that fail at once do not ask at once.
    fault.askAt = now + ASK_EVERY_MS * (0.75 + deps.random.fraction() / 2);
    void question(fault).finally(() => {
      fault.isAsking = false;
    });
  };
  const stop: Stop = aggregators.length === 0 ? () => {} : every(LOOK_MS, () => faults.forEach(look));
  return {
    [Symbol.dispose]: () => {
      isStopped = true;
      stop();
    },
  };
};

/** What is known about one dependency of ours. */
class Fault {
  readonly dependency: string;
  downSince: number | undefined = undefined;
  askAt = 0;
  isAsking = false;
  doubts = 0;
  isMine = false;

  constructor(dependency: string) {
    this.dependency = dependency;
  }
}

/** The first aggregator that answers; undefined when none does. */
const ask = async (
  { aggregators, instance, random }: LocalFaultDeps,
  dependency: string,
): Promise<Consensus | undefined> => {
  const first = Math.floor(random.fraction() * aggregators.length);
  const inTurn = [...aggregators.slice(first), ...aggregators.slice(0, first)];
  for (const url of inTurn) {
    try {
      const path = `/v1/deps/${encodeURIComponent(dependency)}/consensus?except=${instance.id}`;
      const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
      if (response.ok) return (await response.json()) as Consensus;
      await response.body?.cancel();
    } catch {
      // The next one may answer.
    }
  }
  return undefined;
};
