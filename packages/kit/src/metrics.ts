import { getHeapStatistics } from 'node:v8';
import type { Metric } from '@muster/telemetry/metric';
import {
  CATALOGUE,
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOfMetric,
  type MetricName,
} from '@muster/telemetry/metric-catalogue';
import {
  collectDefaultMetrics,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry,
} from 'prom-client';

export interface Counter<N extends CounterName> {
  inc(labels: LabelsOfMetric<N>, by?: number): void;
  /** The child of one label set, to be kept by code that runs per message. */
  with(labels: LabelsOfMetric<N>): { inc(by?: number): void };
}
export interface Gauge<N extends GaugeName> {
  set(labels: LabelsOfMetric<N>, value: number): void;
  with(labels: LabelsOfMetric<N>): {
    set(value: number): void;
    inc(by?: number): void;
    dec(by?: number): void;
  };
  /** Removes every child; for gauges that are set from state on each scrape. */
  reset(): void;
}
export interface Histogram<N extends HistogramName> {
  observe(labels: LabelsOfMetric<N>, value: number): void;
  with(labels: LabelsOfMetric<N>): { observe(value: number): void };
}

/**
 * The instruments of one service, each an entry of the catalogue: the same name returns the same instrument. Not the global registry
 * of the library: two services in one process stay separate.
 */
export interface Metrics {
  readonly contentType: string;
  counter<N extends CounterName>(name: N): Counter<N>;
  gauge<N extends GaugeName>(name: N): Gauge<N>;
  histogram<N extends HistogramName>(name: N): Histogram<N>;
  /** Runs before each scrape, to set gauges from state. */
  onCollect(run: () => void): void;
  /** Prometheus text format 0.0.4. */
  render(): Promise<string>;
}

/** The longest interval of a timer, 25 days. */
const NEVER_MS = 2_147_483_647;

/** A new registry with `service_build_info` and, unless `ofProcess` is false, the metrics of the process. */
export const createMetrics = (options: { service: string; version: string; ofProcess?: boolean }): Metrics => {
  const registry = new Registry();
  const collectors: (() => void)[] = [];
  if (options.ofProcess ?? true) collectProcessMetrics(registry);
  const metrics: Metrics = {
    contentType: registry.contentType,
    counter: once(registry, openCounter),
    gauge: once(registry, openGauge),
    histogram: once(registry, openHistogram),
    onCollect: (run) => void collectors.push(run),
    render: () => {
      for (const collect of collectors) collect();
      return registry.metrics();
    },
  };
  metrics
    .gauge('service_build_info')
    .set({ service: options.service, version: options.version, node: process.versions.node }, 1);
  metrics.gauge('service_heap_limit_bytes').set({}, getHeapStatistics().heap_size_limit);
  return metrics;
};

/** Metrics of the library, but for its event loop timer: it wakes an idle process 50 times per second; see `monitorEventLoop`. */
const collectProcessMetrics = (registry: Registry): void => {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith('nodejs_eventloop_lag')) registry.removeSingleMetric(name);
  }
};

/** Opens an instrument at the first call with its name. Callers have the types of the catalogue; this code does not. */
const once = <I>(registry: Registry, open: (description: Description) => I): ((name: MetricName) => I) => {
  const known = new Map<MetricName, I>();
  return (name) => {
    const present = known.get(name);
    if (present !== undefined) return present;
    const metric: Metric = CATALOGUE[name];
    const { help, labels } = metric;
    const opened = open({ metric, name, help, labelNames: Object.keys(labels), registers: [registry] });
    known.set(name, opened);
    return opened;
  };
};

interface Description {
  readonly metric: Metric;
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  readonly registers: Registry[];
}

type Labels = Readonly<Record<string, string | number>>;

const openCounter = ({ metric, ...description }: Description) => {
  const counter = new PromCounter(description);
  if (metric.zero) for (const labels of everyCombination(metric)) counter.inc({ ...labels }, 0);
  return {
    inc: (labels: Labels, by?: number) => counter.inc({ ...labels }, by),
    with: (labels: Labels) => {
      let series: { value: number } | undefined;
      return {
        inc: (by = 1) => {
          series ??= seriesOf<{ value: number }>(counter, labels, () => counter.inc({ ...labels }, 0));
          series.value += by;
        },
      };
    },
  };
};

const openGauge = ({ metric: _, ...description }: Description) => {
  const gauge = new PromGauge(description);
  return {
    set: (labels: Labels, value: number) => gauge.set({ ...labels }, value),
    with: (labels: Labels) => gauge.labels({ ...labels }),
    reset: () => gauge.reset(),
  };
};

const openHistogram = ({ metric, ...description }: Description) => {
  const histogram = new PromHistogram({ ...description, buckets: [...(metric.buckets ?? [])] });
  return {
    observe: (labels: Labels, value: number) => histogram.observe({ ...labels }, value),
    with: (labels: Labels) => {
      const bounds = metric.buckets ?? [];
      let series: HistogramSeries | undefined;
      return {
        observe: (value: number) => {
          series ??= seriesOf<HistogramSeries>(histogram, labels, () => histogram.zero({ ...labels }));
          series.sum += value;
          series.count += 1;
          const bound = bounds.find((one) => value <= one);
          if (bound !== undefined) series.bucketValues[bound] = (series.bucketValues[bound] ?? 0) + 1;
        },
      };
    },
  };
};

interface HistogramSeries {
  sum: number;
  count: number;
  readonly bucketValues: Record<number, number>;
}

/**
 * The series of a label set in the table of the library, opened if necessary. A child adds to it directly: the library checks and hashes
 * the labels again for every observation, which costs more than the rest of a publication's bookkeeping.
 */
const seriesOf = <S extends object>(metric: object, labels: Labels, open: () => void): S => {
  const find = (): S | undefined => {
    const all: (S & { readonly labels: Labels })[] = Object.values(Reflect.get(metric, 'hashMap'));
    return all.find((one) => Object.entries(labels).every(([name, value]) => one.labels[name] === value));
  };
  let series = find();
  if (series === undefined) {
    open();
    series = find();
  }
  if (series === undefined) throw new Error('prom-client has no table of series');
  return series;
};

/** Every label set of a metric whose labels are closed lists. */
const everyCombination = ({ labels }: Metric): Labels[] =>
  Object.entries(labels).reduce<Labels[]>(
    (sets, [label, values]) =>
      'atMost' in values ? [] : sets.flatMap((set) => values.map((value) => ({ ...set, [label]: value }))),
    [{}],
  );
