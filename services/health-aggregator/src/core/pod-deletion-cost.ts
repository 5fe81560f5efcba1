import { countsConnections } from './capacity.ts';
import type { FleetSnapshot } from './fleet-snapshot.ts';

/** Least ratio of two counts for a changed order: the order of gateways with nearly equal counts changes all the time. */
const CHANGE_RATIO = 1.1;
/** A name of a pod (DNS subdomain); instances outside of Kubernetes may have other names. */
const POD_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Costs by pod. Kubernetes removes the pod with the lowest cost first. */
export type PodCosts = ReadonlyMap<string, number>;

/**
 * Connections of each gateway that serves. Undefined unless the load of all of them is known: a pod whose load is unknown must not
 * be the first to be removed.
 */
export const podCosts = ({ frozen, services }: FleetSnapshot): PodCosts | undefined => {
  const gateways = services.find(({ service }) => service === 'ws-gateway');
  if (frozen || gateways === undefined || gateways.status === 'unknown') return undefined;
  const staying = gateways.instances.filter(({ state, name }) => STAYING.has(state) && POD_NAME.test(name));
  if (staying.length === 0 || !staying.every(countsConnections)) return undefined;
  return new Map(staying.map(({ name, load }) => [name, load['connections'] ?? 0]));
};

const STAYING: ReadonlySet<string> = new Set(['starting', 'up', 'degraded', 'suspect']);

/** True when the written costs would remove pods in another order, or when a pod has none. */
export const isOrderOutdated = (written: PodCosts, costs: PodCosts): boolean => {
  const pods = [...costs];
  if (pods.some(([pod]) => !written.has(pod))) return true;
  return pods.some(([pod, cost]) =>
    pods.some(
      ([other, otherCost]) =>
        (written.get(pod) ?? 0) <= (written.get(other) ?? 0) &&
        cost > Math.max(otherCost * CHANGE_RATIO, otherCost + 1),
    ),
  );
};
