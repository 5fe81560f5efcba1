import { readingOf } from './fleet-description.ts';
import type { InstanceMonitor } from './instance-monitor.ts';
import { isServing, REPORT_FRESH_MS } from './status.ts';

const ENOUGH_OBSERVERS = 2;
const SHARE_THAT_MAY_LEAVE = 0.25;

/** What everybody else says about a dependency, for one who cannot reach it. */
export interface DependencyConsensus {
  /** Others with a fresh word on it, and how many of them cannot reach it either. */
  readonly observers: number;
  readonly failing: number;
  /** True when the fault is that of the one who asks: enough others report, and most of them reach it. */
  readonly isLocal: boolean;
  /** The service of the one who asks, and how many of it may be out of the pool this way; undefined for a stranger. */
  readonly quota: { readonly service: string; readonly most: number } | undefined;
}

/**
 * Compares an instance with everybody else. It may leave only when we know from its own mouth that it fails, and when another
 * instance of its service serves.
 */
export const dependencyConsensus = (
  dependency: string,
  id: string,
  watches: readonly InstanceMonitor[],
  now: number,
): DependencyConsensus => {
  const fresh = watches.flatMap((watch) => {
    const reading = readingOf(watch, dependency);
    const isFresh = now - watch.dependencies.at <= REPORT_FRESH_MS;
    return reading === undefined || reading.status === 'unknown' || !isFresh ? [] : [{ watch, reading }];
  });
  const others = fresh.filter(({ watch }) => watch.id !== id);
  const failing = others.filter(({ reading }) => reading.status === 'down').length;
  const own = fresh.find(({ watch }) => watch.id === id);
  const isLocal = others.length >= ENOUGH_OBSERVERS && failing * 2 < others.length;
  return {
    observers: others.length,
    failing,
    isLocal,
    quota: own?.reading.status === 'down' ? quotaOf(own.watch, watches) : undefined,
  };
};

const quotaOf = (own: InstanceMonitor, watches: readonly InstanceMonitor[]): DependencyConsensus['quota'] => {
  const { service } = own.heartbeat;
  const group = watches.filter(({ heartbeat, state }) => heartbeat.service === service && state !== 'gone');
  if (!group.some((watch) => watch.id !== own.id && isServing(watch.state))) return undefined;
  return { service, most: Math.max(1, Math.floor(group.length * SHARE_THAT_MAY_LEAVE)) };
};
