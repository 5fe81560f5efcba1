import {
  type Burn,
  MIN_EVENTS,
  OBJECTIVES,
  type Objective,
  PAGE_BURN_RATES,
  secondsOf,
  TICKET_BURN_RATES,
} from './objectives.ts';
import { alert, type Rule, type RuleGroup } from './prometheus-rules.ts';

/** Windows of the alerts. The short windows are evaluated at the default interval, the long windows every two minutes. */
export const SHORT_WINDOWS = ['5m', '30m', '1h'] as const;
export const LONG_WINDOWS = ['2h', '6h', '1d', '3d'] as const;
const RUNBOOKS = 'deploy/prometheus/runbooks-slo.md';

const over = (expression: string, window: string): string => expression.replaceAll('$window', window);

/** A series of bad events is absent until the first bad event; it counts as zero until then. */
const badOf = ({ bad, events }: Objective, window: string): string =>
  `((${over(bad, window)}) or 0 * ${over(events, window)})`;

const recording = (record: string, { name }: Objective, expr: string): Rule => ({
  record,
  expr,
  labels: { slo: name },
});

const recordings = (windows: readonly string[]): Rule[] =>
  OBJECTIVES.flatMap((objective) =>
    windows.flatMap((window) => [
      recording(`slo:events:rate${window}`, objective, over(objective.events, window)),
      recording(
        `slo:errors:ratio_rate${window}`,
        objective,
        `${badOf(objective, window)} / ${over(objective.events, window)}`,
      ),
    ]),
  );

const burns = ({ long, short, factor }: Burn): string =>
  [
    `(slo:errors:ratio_rate${short} > ${factor} * slo:budget:ratio`,
    `and slo:errors:ratio_rate${long} > ${factor} * slo:budget:ratio`,
    `and slo:events:rate${long} * ${secondsOf(long)} > ${MIN_EVENTS})`,
  ].join('\n  ');

const budgets: RuleGroup = {
  name: 'slo-budgets',
  rules: OBJECTIVES.map((objective) =>
    recording('slo:budget:ratio', objective, `vector(${Number((1 - objective.target).toFixed(6))})`),
  ),
};

const month: RuleGroup = {
  name: 'slo-month',
  interval: '2m',
  rules: [
    ...OBJECTIVES.map((objective) => recording('slo:errors:rate5m', objective, badOf(objective, '5m'))),
    {
      record: 'slo:budget_left:ratio',
      expr: '1 - (avg_over_time(slo:errors:rate5m[30d]) / avg_over_time(slo:events:rate5m[30d])) / slo:budget:ratio',
    },
  ],
};

const alerts: RuleGroup = {
  name: 'slo-alerts',
  rules: [
    alert('SloBudgetBurnsFast', 'page', {
      runbooks: RUNBOOKS,
      expr: PAGE_BURN_RATES.map(burns).join('\nor '),
      summary: 'At the current burn rate the monthly error budget of {{ $labels.slo }} lasts a few days.',
    }),
    alert('SloBudgetBurnsSlowly', 'ticket', {
      runbooks: RUNBOOKS,
      expr: TICKET_BURN_RATES.map(burns).join('\nor '),
      summary: 'At the current burn rate the error budget of {{ $labels.slo }} does not last the month.',
    }),
    alert('SloFewButFailing', 'ticket', {
      runbooks: RUNBOOKS,
      expr: `slo:errors:ratio_rate6h * slo:events:rate6h * ${secondsOf('6h')} > 20 and slo:events:rate6h < 0.5`,
      summary: '{{ $labels.slo }} has little traffic, and more than twenty events failed in six hours.',
    }),
    alert('SloUnmeasured', 'ticket', {
      runbooks: RUNBOOKS,
      expr: 'slo:budget:ratio unless on (slo) slo:events:rate5m',
      wait: '10m',
      summary: 'No data for {{ $labels.slo }}: the objective is not measured.',
    }),
  ],
};

/** Recording and alerting rules of the objectives. */
export const SLO_GROUPS: readonly RuleGroup[] = [
  budgets,
  { name: 'slo-near', rules: recordings(SHORT_WINDOWS) },
  { name: 'slo-far', interval: '2m', rules: recordings(LONG_WINDOWS) },
  month,
  alerts,
];
