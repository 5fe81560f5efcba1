import { type Metric, unitOf } from '@muster/telemetry/metric';

/** One query of a panel. */
export interface PanelTarget {
  readonly expr: string;
  readonly legend: string;
}

/** A panel without its id and position. */
export interface PanelSpec {
  readonly title: string;
  readonly description?: string;
  readonly type: 'timeseries' | 'stat' | 'table';
  readonly unit: string;
  readonly targets: readonly PanelTarget[];
  /** Columns, of 24. */
  readonly width: number;
  readonly height: number;
  readonly min?: number;
  /** Thresholds of a stat, ascending; `null` is the lowest. */
  readonly steps?: readonly { readonly color: 'red' | 'orange' | 'green'; readonly value: number | null }[];
}

const SELECTED = '{instance=~"$instance"}';
const WINDOW = '$__rate_interval';
const GRAFANA_UNITS = { seconds: 's', bytes: 'bytes', ratio: 'none', time: 's', count: 'short' } as const;

/** A time series panel. */
export const graph = (
  title: string,
  unit: string,
  { targets, width = 8 }: { targets: readonly PanelTarget[]; width?: number },
): PanelSpec => ({ title, type: 'timeseries', unit, targets, width, height: 7, min: 0 });

/** A single-value panel. */
export const stat = (
  title: string,
  { expr, unit, steps }: { expr: string; unit: string; steps?: PanelSpec['steps'] },
): PanelSpec => ({
  title,
  type: 'stat',
  unit,
  targets: [{ expr, legend: '' }],
  width: 4,
  height: 4,
  ...(steps === undefined ? {} : { steps }),
});

/** The panel of a metric of the catalogue. */
export const panelOf = (name: string, metric: Metric): PanelSpec => ({
  ...graph(metric.help.replace(/\.$/, ''), panelUnit(name, metric), { targets: targetsOf(name, metric) }),
  description: `${name}: ${metric.help}`,
});

const panelUnit = (name: string, { kind }: Metric): string => {
  const unit = unitOf(name);
  if (kind === 'counter') return unit === 'bytes' ? 'Bps' : 'cps';
  return GRAFANA_UNITS[unit];
};

const targetsOf = (name: string, metric: Metric): PanelTarget[] => {
  const by = metric.panel.by ?? [];
  const legend = by.map((label) => `{{${label}}}`).join(' ');
  const grouping = by.length === 0 ? '' : ` by (${by.join(', ')})`;
  switch (displayOf(metric)) {
    case 'rate':
      return [{ expr: `sum${grouping} (rate(${name}${SELECTED}[${WINDOW}]))`, legend: legend || 'per second' }];
    case 'quantiles':
      return (by.length === 0 ? [0.5, 0.99] : [0.99]).map((quantile) => ({
        expr: `histogram_quantile(${quantile}, sum by (${['le', ...by].join(', ')}) (rate(${name}_bucket${SELECTED}[${WINDOW}])))`,
        legend: `p${quantile * 100} ${legend}`.trimEnd(),
      }));
    case 'age':
      return [{ expr: `time() - max${grouping} (${name}${SELECTED})`, legend: legend || 'age' }];
    case 'sum':
      return [{ expr: `sum${grouping} (${name}${SELECTED})`, legend: legend || 'total' }];
    default:
      return [{ expr: `max${grouping} (${name}${SELECTED})`, legend: legend || 'max' }];
  }
};

const displayOf = ({ kind, panel }: Metric) =>
  panel.as ?? ({ counter: 'rate', gauge: 'max', histogram: 'quantiles' } as const)[kind];

/** Panels of the runtime metrics of a service; `service` is a regular expression. */
export const processPanels = (service: string): PanelSpec[] => {
  const selector = `{service=~"${service}",instance=~"$instance"}`;
  const perInstance = (title: string, unit: string, expr: string) =>
    graph(title, unit, { targets: [{ expr, legend: '{{instance}}' }] });
  return [
    perInstance('Event loop delay, p99', 's', `max by (instance) (service_event_loop_delay_seconds${selector})`),
    perInstance('CPU', 'percentunit', `sum by (instance) (rate(process_cpu_seconds_total${selector}[${WINDOW}]))`),
    perInstance('Resident memory', 'bytes', `max by (instance) (process_resident_memory_bytes${selector})`),
    perInstance('Heap used', 'bytes', `max by (instance) (nodejs_heap_size_used_bytes${selector})`),
    perInstance(
      'Garbage collection',
      'percentunit',
      `sum by (instance) (rate(nodejs_gc_duration_seconds_sum${selector}[${WINDOW}]))`,
    ),
    perInstance('Open files', 'short', `max by (instance) (process_open_fds${selector})`),
  ];
};
