import { OBJECTIVES } from '@muster/observability/objectives';
import type { Series } from './prometheus-rules.ts';

/** A period in minutes, with good and bad events per minute. */
type Stretch = readonly [minutes: number, good: number, bad: number];

/** A time series for every objective, and the alerts that must fire. */
export interface ObjectiveCase {
  readonly name: string;
  /** Minutes between two samples. */
  readonly step: number;
  readonly at: string;
  readonly series: readonly Series[];
  readonly fires: readonly string[];
}

/** A counter in the notation of promtool. */
const counting = (stretches: readonly (readonly [minutes: number, perMinute: number])[], step: number): string => {
  let at = 0;
  return stretches
    .map(([minutes, perMinute]) => {
      const steps = Math.round(minutes / step);
      const text = `${at}+${perMinute * step}x${steps}`;
      at += perMinute * step * (steps + 1);
      return text;
    })
    .join(' ');
};

/** Series of good and bad events of each objective; for histograms all events and those within the bucket. */
const SERIES: Readonly<Record<string, { good: string; bad: string } | { all: string; good: string }>> = {
  'session-availability': {
    good: 'http_server_request_duration_seconds_count{service="session-service",http_route="/v1/session",http_response_status_code="200"}',
    bad: 'http_server_request_duration_seconds_count{service="session-service",http_route="/v1/session",http_response_status_code="503"}',
  },
  'session-latency': {
    all: 'session_validation_duration_seconds_count{source="redis"}',
    good: 'session_validation_duration_seconds_bucket{source="redis",le="0.025"}',
  },
  delivery: {
    all: 'gateway_delivery_latency_seconds_count',
    good: 'gateway_delivery_latency_seconds_bucket{le="0.25"}',
  },
  'gateway-connect': {
    good: 'gateway_handshakes_total{result="accepted"}',
    bad: 'gateway_handshakes_total{result="rejected_overload"}',
  },
  recovery: {
    good: 'gateway_recoveries_total{result="complete"}',
    bad: 'gateway_recoveries_total{result="resync"}',
  },
  'synthetic-check': {
    good: 'fleet_synthetic_checks_total{result="ok",step="all"}',
    bad: 'fleet_synthetic_checks_total{result="failed",step="receive"}',
  },
};

const seriesOf = (slo: string, stretches: readonly Stretch[], step: number): Series[] => {
  const names = SERIES[slo];
  if (names === undefined) throw new Error(`${slo}: expected an objective with series in SERIES`);
  const good = counting(
    stretches.map(([minutes, perMinute]) => [minutes, perMinute]),
    step,
  );
  if ('all' in names) {
    const all = counting(
      stretches.map(([minutes, fine, bad]) => [minutes, fine + bad]),
      step,
    );
    return [
      { series: names.all, values: all },
      { series: names.good, values: good },
    ];
  }
  const bad = counting(
    stretches.map(([minutes, , perMinute]) => [minutes, perMinute]),
    step,
  );
  return [
    { series: names.good, values: good },
    { series: names.bad, values: bad },
  ];
};

const FAST = 'SloBudgetBurnsFast';
const SLOWLY = 'SloBudgetBurnsSlowly';
const PER_MINUTE = 6_000;
const BUDGETS = new Map(OBJECTIVES.map(({ name, target }) => [name, 1 - target]));

/** A period with `times` as many failures as the budget allows. */
const failing =
  (minutes: number, times: number) =>
  (budget: number): Stretch => {
    const bad = PER_MINUTE * budget * times;
    return [minutes, PER_MINUTE - bad, bad];
  };
const exactly =
  (...stretch: Stretch) =>
  (): Stretch =>
    stretch;

const of = (
  name: string,
  { is, ...one }: Omit<ObjectiveCase, 'name' | 'series'> & { is: readonly ((budget: number) => Stretch)[] },
): ObjectiveCase => ({
  ...one,
  name,
  series: [...BUDGETS].flatMap(([slo, budget]) =>
    is.length === 0
      ? []
      : seriesOf(
          slo,
          is.map((stretch) => stretch(budget)),
          one.step,
        ),
  ),
});

/**
 * Burns of all budgets, by window. In a test without history the long windows have the data of the short windows, so that a
 * fast burn also raises the alert of a slow burn.
 */
export const OBJECTIVE_CASES: readonly ObjectiveCase[] = [
  of('a fast burn over 1h and 5m', { step: 2, at: '62m', fires: [FAST, SLOWLY], is: [failing(70, 16)] }),
  of('a burst that has ended raises no page', {
    step: 2,
    at: '96m',
    fires: [SLOWLY],
    is: [failing(30, 0), failing(30, 20), failing(40, 0)],
  }),
  of('all events fail, at one event per hour', {
    step: 2,
    at: '120m',
    fires: [],
    is: [exactly(60, 0, 0), exactly(70, 0, 1 / 60)],
  }),
  of('low traffic with many failures', {
    step: 5,
    at: '355m',
    fires: ['SloFewButFailing'],
    is: [exactly(400, 0.15, 0.1)],
  }),
  of('no data', { step: 2, at: '20m', fires: ['SloUnmeasured'], is: [] }),
  of('a burn over 6h and 30m', { step: 2, at: '370m', fires: [FAST, SLOWLY], is: [failing(390, 8)] }),
  of('a burn over 1d and 2h', { step: 10, at: '1470m', fires: [SLOWLY], is: [failing(1_500, 4)] }),
  of('a slow burn over 3d and 6h', { step: 30, at: '4410m', fires: [SLOWLY], is: [failing(4_500, 1.5)] }),
  of('failures within the budget for days', { step: 30, at: '4410m', fires: [], is: [failing(4_500, 0.8)] }),
];
