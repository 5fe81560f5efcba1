/** Closed list of label values. */
export type LabelValues = readonly string[];

/** Bound of the number of values of a label that cannot be listed, with the reason. */
export interface AtMost {
  readonly atMost: number;
  readonly because: string;
}

export type LabelSets = Readonly<Record<string, LabelValues | AtMost>>;

/** Panel of a metric on the dashboard of its chapter. */
export interface Panel {
  readonly row: string;
  /** Labels with a line per value; all others are summed. Default: none. */
  readonly by?: readonly string[];
  /** `age`: time since a timestamp; `max`, `sum`: aggregation over instances. Default: by kind. */
  readonly as?: 'rate' | 'quantiles' | 'sum' | 'max' | 'age';
}

export type MetricKind = 'counter' | 'gauge' | 'histogram';

/** A metric. Its unit is the suffix of its name. */
export interface Metric<K extends MetricKind = MetricKind, L extends LabelSets = LabelSets> {
  readonly kind: K;
  /** One sentence. */
  readonly help: string;
  readonly labels: L;
  /** Upper bounds of the buckets, in the unit of the metric; of histograms only. */
  readonly buckets?: readonly number[];
  /** Counters: every label combination is exposed as 0 from the start, so that the first event is an increase. */
  readonly zero?: boolean;
  /** A stable metric keeps its name and labels through a major version. */
  readonly stability: 'stable' | 'experimental';
  /** Most label combinations per process, if fewer than the product of all values. */
  readonly combinations?: number;
  readonly panel: Panel;
}

/** Options of a metric beside its help. */
export interface About<L extends LabelSets> {
  readonly labels?: L;
  readonly stability?: 'stable' | 'experimental';
  readonly combinations?: number;
  readonly panel: Panel;
}

/** A value that only goes up. Its name ends in `_total`. */
export const counter = <const L extends LabelSets = Record<never, never>>(
  help: string,
  { labels, stability = 'stable', ...about }: About<L> & { readonly zero?: boolean },
): Metric<'counter', L> => ({
  kind: 'counter',
  help,
  labels: labels ?? ({} as L),
  stability,
  ...about,
});

/** A value that goes up and down. */
export const gauge = <const L extends LabelSets = Record<never, never>>(
  help: string,
  { labels, stability = 'stable', ...about }: About<L>,
): Metric<'gauge', L> => ({ kind: 'gauge', help, labels: labels ?? ({} as L), stability, ...about });

/** Distribution of values. */
export const histogram = <const L extends LabelSets = Record<never, never>>(
  help: string,
  { labels, stability = 'stable', ...about }: About<L> & { readonly buckets: readonly number[] },
): Metric<'histogram', L> & { readonly buckets: readonly number[] } => ({
  kind: 'histogram',
  help,
  labels: labels ?? ({} as L),
  stability,
  ...about,
});

/** A label whose values cannot be listed. */
export const atMost = (count: number, because: string): AtMost => ({ atMost: count, because });

type ValueOf<S> = S extends LabelValues ? S[number] : string | number;

/** The labels of an instrument of this metric. */
export type LabelsOf<M extends Metric> = keyof M['labels'] extends never
  ? Readonly<Record<string, never>>
  : { readonly [K in keyof M['labels']]: ValueOf<M['labels'][K]> };

/** `+Inf`, `_sum` and `_count` of a histogram, beside its buckets. */
const SERIES_BESIDE_BUCKETS = 3;

/** Most label combinations of a metric per process. */
export const combinationsOf = ({ labels, combinations }: Metric): number =>
  combinations ??
  Object.values(labels).reduce((product, values) => product * ('atMost' in values ? values.atMost : values.length), 1);

/** Budget of a metric: most series per process. */
export const budgetOf = (metric: Metric): number =>
  combinationsOf(metric) * (metric.kind === 'histogram' ? (metric.buckets?.length ?? 0) + SERIES_BESIDE_BUCKETS : 1);

/** Unit of a metric, by its name. */
export const unitOf = (name: string): 'seconds' | 'bytes' | 'ratio' | 'time' | 'count' => {
  const base = name.replace(/_total$/, '');
  if (base.endsWith('_timestamp_seconds')) return 'time';
  if (base.endsWith('_seconds')) return 'seconds';
  if (base.endsWith('_bytes')) return 'bytes';
  return base.endsWith('_ratio') ? 'ratio' : 'count';
};

/** Edges in seconds for work below a millisecond. */
export const MICRO = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1] as const;
/** Edges in seconds for requests and round trips. The limits of the objectives, 25 and 250 ms, are edges. */
export const STD = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;
/** Edges in seconds for lifetimes of hours. */
export const LONG = [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400] as const;
/** Edges in bytes. */
export const SIZE = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576] as const;
/** Edges for counts. */
export const COUNT = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 10_000] as const;
/** Edges in seconds around the bounds of failure detection. */
export const DETECTION = [0.5, 1, 2, 3, 5, 8, 13, 30] as const;
