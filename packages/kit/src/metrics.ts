import {
  collectDefaultMetrics,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry,
} from 'prom-client';

/** Bucket edges in seconds for work below a millisecond. */
export const MICRO = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
] as const;
/** Bucket edges in seconds for requests and round trips. */
export const STD = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;
/** Bucket edges in bytes. */
export const SIZE = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576] as const;
/** Bucket edges for counts of things. */
export const COUNT = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 10_000] as const;

type Labels<L extends string> = Readonly<Record<L, string | number>>;

interface Described<L extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

export interface Counter<L extends string = never> {
  inc(labels: Labels<L>, by?: number): void;
  /** The child of one label set, to be kept by hot code. */
  with(labels: Labels<L>): { inc(by?: number): void };
}
export interface Gauge<L extends string = never> {
  set(labels: Labels<L>, value: number): void;
  with(labels: Labels<L>): { set(value: number): void; inc(by?: number): void; dec(by?: number): void };
  /** Forgets every child; for gauges rebuilt from state at collect time. */
  reset(): void;
}
export interface Histogram<L extends string = never> {
  observe(labels: Labels<L>, value: number): void;
  with(labels: Labels<L>): { observe(value: number): void };
}

/** The instruments of one service object. Never the library's global registry: two services in one process stay apart. */
export interface Metrics {
  readonly contentType: string;
  counter<L extends string = never>(described: Described<L>): Counter<L>;
  gauge<L extends string = never>(described: Described<L>): Gauge<L>;
  histogram<L extends string = never>(described: Described<L> & { buckets: readonly number[] }): Histogram<L>;
  /** Runs before each scrape, to set gauges from state. */
  onCollect(run: () => void): void;
  /** Names of all registered metrics. */
  names(): string[];
  /** Prometheus text format 0.0.4. */
  render(): Promise<string>;
}

/** A fresh registry with process metrics and `service_build_info`. */
export const createMetrics = (options: { service: string; version: string }): Metrics => {
  const registry = new Registry();
  const collectors: (() => void)[] = [];
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 20 });
  new PromGauge({
    name: 'service_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['service', 'version', 'node'],
    registers: [registry],
  }).set({ service: options.service, version: options.version, node: process.versions.node }, 1);

  const common = <L extends string>({ name, help, labels }: Described<L>) => ({
    name,
    help,
    labelNames: [...(labels ?? [])],
    registers: [registry],
  });

  return {
    contentType: registry.contentType,
    counter: <L extends string>(described: Described<L>): Counter<L> => {
      const counter = new PromCounter<L>(common(described));
      return {
        inc: (labels, by) => counter.inc({ ...labels }, by),
        with: (labels) => counter.labels({ ...labels }),
      };
    },
    gauge: <L extends string>(described: Described<L>): Gauge<L> => {
      const gauge = new PromGauge<L>(common(described));
      return {
        set: (labels, value) => gauge.set({ ...labels }, value),
        with: (labels) => gauge.labels({ ...labels }),
        reset: () => gauge.reset(),
      };
    },
    histogram: <L extends string>(described: Described<L> & { buckets: readonly number[] }): Histogram<L> => {
      const histogram = new PromHistogram<L>({ ...common(described), buckets: [...described.buckets] });
      return {
        observe: (labels, value) => histogram.observe({ ...labels }, value),
        with: (labels) => histogram.labels({ ...labels }),
      };
    },
    onCollect: (run) => void collectors.push(run),
    names: () => registry.getMetricsAsArray().map((metric) => metric.name),
    render: () => {
      for (const collect of collectors) collect();
      return registry.metrics();
    },
  };
};
