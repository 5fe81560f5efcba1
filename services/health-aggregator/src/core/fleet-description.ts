import type { FleetSnapshot, InstanceSnapshot, ServiceSnapshot } from './fleet-snapshot.ts';
import type { InstanceMonitor } from './instance-monitor.ts';
import type { ServiceInstances } from './instance-registry.ts';
import type { DependencyReading } from './ports.ts';
import { type DependencyReport, dependencyStatus, serviceStatus } from './status.ts';

/** Beats and health bodies name dependencies; these are the names in our answers, and who may speak about them. */
const DEPENDENCIES: Readonly<Record<string, { keys: readonly string[]; reportedBy?: string }>> = {
  database: { keys: ['postgres', 'database'], reportedBy: 'session-service' },
  redis: { keys: ['redis'] },
};

/** What the description of a service depends on beside its instances. */
export interface DescribeOptions {
  readonly now: number;
  readonly staleAfterMs: number;
  /** ms the registry has been readable: an empty service is an outage only when that is long enough to know. */
  readonly readableForMs: number;
  /** Instances that were found by their address and do not heartbeat. */
  readonly found: readonly InstanceSnapshot[];
}

/** Describes one service and judges it. */
export const describeService = (
  service: string,
  group: ServiceInstances,
  options: DescribeOptions,
): ServiceSnapshot => {
  const { now, staleAfterMs, readableForMs, found } = options;
  const watches = [...group.monitors.values()];
  const instances = watches.map((watch) =>
    describeInstance(watch, now, group.dampings.get(watch.heartbeat.name)?.isFlapping(now) ?? false),
  );
  instances.push(...found);
  const states = instances.map(({ state }) => state);
  const expected = group.expected.count(states.filter((state) => state === 'draining').length);
  const evidenceAt = Math.max(
    Number.NEGATIVE_INFINITY,
    ...watches.map((watch) => watch.evidenceAt),
    ...found.flatMap(({ probe }) => (probe ? [now - probe.ageMs] : [])),
  );
  const emptyForSure = instances.length === 0 && readableForMs > staleAfterMs;
  return {
    service,
    status: serviceStatus(
      { states, expected, evidenceAgeMs: emptyForSure ? 0 : now - evidenceAt },
      staleAfterMs,
    ),
    up: states.filter((state) => state === 'up').length,
    total: instances.length,
    expected,
    instances: instances.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })),
  };
};

const describeInstance = (watch: InstanceMonitor, now: number, isFlapping: boolean): InstanceSnapshot => {
  const { heartbeat, probe } = watch;
  // Up again after many falls is not yet good news.
  const isHeldBack = isFlapping && watch.state === 'up';
  return {
    id: watch.id,
    name: heartbeat.name,
    state: isHeldBack ? 'degraded' : watch.state,
    why: isHeldBack ? 'flapping' : watch.why,
    ...(isFlapping ? { flapping: true } : {}),
    forMs: Math.round(now - watch.since),
    evidenceForMs: Math.round(now - watch.evidenceSince),
    version: heartbeat.version,
    startedAt: new Date(heartbeat.startedAt).toISOString(),
    beatAgeMs: Math.max(0, Math.round(now - watch.heartbeatAt)),
    ...(probe
      ? {
          probe: {
            outcome: probe.result.outcome,
            durationMs: Math.round(probe.result.durationMs * 10) / 10,
            ageMs: Math.round(now - probe.at),
          },
        }
      : {}),
    load: heartbeat.load,
  };
};

/** Judges what the instances depend on, from what they say about it. */
export const describeDependencies = (
  watches: readonly InstanceMonitor[],
  now: number,
): FleetSnapshot['dependencies'] => {
  const verdicts = Object.entries(DEPENDENCIES).map(([name, { keys, reportedBy }]) => {
    const reports: DependencyReport[] = [];
    for (const watch of watches) {
      const reading = readingIn(watch, keys, reportedBy);
      if (reading) reports.push({ reading, ageMs: Math.max(0, now - watch.dependencies.at) });
    }
    return [name, dependencyStatus(reports)] as const;
  });
  return Object.fromEntries(verdicts);
};

const readingIn = (
  { heartbeat, dependencies: { readings } }: InstanceMonitor,
  keys: readonly string[],
  reportedBy: string | undefined,
): DependencyReading | undefined => {
  if (reportedBy !== undefined && heartbeat.service !== reportedBy) return undefined;
  return keys.map((key) => readings[key]).find((found) => found !== undefined);
};

/** What an instance says about a dependency, by our name for it or by its own. */
export const readingOf = (watch: InstanceMonitor, dependency: string): DependencyReading | undefined => {
  const known = Object.entries(DEPENDENCIES).find(
    ([name, { keys }]) => name === dependency || keys.includes(dependency),
  );
  return known && readingIn(watch, known[1].keys, known[1].reportedBy);
};
