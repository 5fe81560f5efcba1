import type { Clock } from '@muster/kit/clock';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import { createKubernetesApi } from '../clients/kubernetes-api.ts';
import type { FleetState } from '../core/fleet.ts';
import { isOrderOutdated, type PodCosts, podCosts } from '../core/pod-deletion-cost.ts';

const CHECK_MS = 1_000;

interface PodDeletionCostDeps {
  readonly kubernetes: { readonly url: string; readonly credentialsDirectory: string };
  /** Least time between two rounds of patches. */
  readonly intervalMs: number;
  readonly epoch: () => number | undefined;
  readonly fleet: Pick<FleetState, 'snapshot'>;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Writes the number of connections of each gateway to its pod while this aggregator is the leader, so that a scale-in removes the
 * emptiest first. Patches only when the order of the pods has changed, and not more often than the interval: each is a write of the
 * cluster. A failure is counted, logged once, and tried again after the interval.
 */
export const startPodDeletionCostJob = (deps: PodDeletionCostDeps): AsyncDisposable => {
  const { epoch, fleet, clock, log, intervalMs } = deps;
  const api = createKubernetesApi(deps.kubernetes);
  const patches = deps.metrics.counter('fleet_pod_deletion_cost_patches_total');
  const faults = createFaultLog(log, {
    event: 'kubernetes.pod_patch_failed',
    overEvent: 'kubernetes.pod_patch_recovered',
  });
  let written: PodCosts = new Map();
  let nextAt = 0;

  const write = async (costs: PodCosts): Promise<void> => {
    const done = new Map<string, number>();
    let failure: { readonly pod: string; readonly result: string } | undefined;
    for (const [pod, cost] of costs) {
      const result = await api.setDeletionCost(pod, cost);
      patches.inc({ result });
      if (result === 'ok') done.set(pod, cost);
      else failure ??= { pod, result };
      // The answer would be the same for every pod.
      if (result === 'forbidden' || result === 'timeout') break;
    }
    written = done;
    if (failure === undefined) faults.recovered();
    else faults.failed(failure);
  };
  const check = async (): Promise<void> => {
    if (epoch() === undefined) {
      // Another leader writes meanwhile.
      written = new Map();
      return;
    }
    if (clock.monotonic() < nextAt) return;
    const costs = podCosts(fleet.snapshot());
    if (costs === undefined || !isOrderOutdated(written, costs)) return;
    nextAt = clock.monotonic() + intervalMs;
    await write(costs);
  };
  return createPeriodicJob(CHECK_MS, check);
};
