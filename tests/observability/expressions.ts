import { ALERT_GROUPS } from '@muster/observability/alerts';
import { BOARDS } from '@muster/observability/dashboards';
import { ANNOTATIONS } from '@muster/observability/grafana';
import { SLO_GROUPS } from '@muster/observability/slo-rules';

/** A PromQL expression, and the rule or panel that contains it. */
export interface Expression {
  readonly where: string;
  readonly expr: string;
}

const rules = [...ALERT_GROUPS, ...SLO_GROUPS].flatMap((group) => group.rules);

/** Expressions of all rules, annotations and panels. */
export const expressions = (): Expression[] => [
  ...rules.map(({ alert, record, expr }) => ({ where: alert ?? record ?? '', expr })),
  ...ANNOTATIONS.map(({ name, expr }) => ({ where: name, expr })),
  ...BOARDS.flatMap(({ name, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: `${name}: ${title}`, expr }))),
    ),
  ),
];

/** Series of the recording rules, with their labels. */
export const recordedSeries = (): ReadonlyMap<string, readonly string[]> =>
  new Map(rules.flatMap(({ record }) => (record === undefined ? [] : [[record, ['slo']] as const])));

/** Names of all alerting rules. */
export const alertNames = (): string[] => rules.flatMap(({ alert }) => alert ?? []);
