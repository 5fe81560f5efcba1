import type { InstanceMonitor } from '../core/instance-monitor.ts';

/** One group of Prometheus' http_sd format. */
export interface ScrapeGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * The scrape targets: every instance that is not gone. Those that are down stay listed, because an instance that
 * vanishes from the list takes its `up` series with it and no alert on `up == 0` could ever fire.
 * Undefined when nothing is known: an empty list would make Prometheus forget everything, a 503 keeps what it has.
 */
export const scrapeGroups = (
  members: readonly InstanceMonitor[],
  service: string | undefined,
): ScrapeGroup[] | undefined => {
  const groups = members
    .filter(
      ({ state, heartbeat }) => state !== 'gone' && (service === undefined || heartbeat.service === service),
    )
    .map(({ heartbeat, state, id }) => ({
      targets: [heartbeat.opsAddress],
      labels: {
        __meta_fleet_service: heartbeat.service,
        __meta_fleet_instance_name: heartbeat.name,
        __meta_fleet_instance_id: id,
        __meta_fleet_version: heartbeat.version,
        __meta_fleet_state: state,
        __meta_fleet_metrics_path: '/metrics',
      },
    }));
  if (groups.length === 0) return undefined;
  const unique = new Map(groups.map((group) => [group.targets[0], group]));
  return [...unique.values()].sort((a, b) => (a.targets[0] ?? '').localeCompare(b.targets[0] ?? ''));
};
