import { ALERT_GROUPS } from './alerts.ts';
import { BOARDS } from './dashboards.ts';
import { ANNOTATIONS } from './grafana.ts';
import { SLO_GROUPS } from './slo-rules.ts';

/** An expression, and where it stands. */
export interface Expression {
  readonly where: string;
  readonly expr: string;
}

const rules = [...ALERT_GROUPS, ...SLO_GROUPS].flatMap((group) => group.rules);

/** Every expression of every rule and every panel. */
export const expressions = (): Expression[] => [
  ...rules.map(({ alert, record, expr }) => ({ where: alert ?? record ?? '', expr })),
  ...ANNOTATIONS.map(({ name, expr }) => ({ where: name, expr })),
  ...BOARDS.flatMap(({ name, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap(({ title, targets }) =>
        targets.map(({ expr }) => ({ where: `${name}: ${title}`, expr })),
      ),
    ),
  ),
];

/** Series that recording rules make, with their labels. */
export const recordedSeries = (): ReadonlyMap<string, readonly string[]> =>
  new Map(rules.flatMap(({ record }) => (record === undefined ? [] : [[record, ['slo']] as const])));

/** Names of all alerts. */
export const alertNames = (): string[] => rules.flatMap(({ alert }) => alert ?? []);
