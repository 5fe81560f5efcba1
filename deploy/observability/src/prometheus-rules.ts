/** A recording or alerting rule of Prometheus. */
export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Rules that Prometheus evaluates in sequence, each `interval`. */
export interface RuleGroup {
  readonly name: string;
  readonly interval?: string;
  readonly rules: readonly Rule[];
}

const RUNBOOKS = 'deploy/prometheus/runbooks.md';

/** An alerting rule. `wait` is its `for`; its runbook is the section of its name. */
export const alert = (
  name: string,
  severity: 'page' | 'ticket' | 'none',
  { expr, wait, summary, runbooks = RUNBOOKS }: { expr: string; wait?: string; summary: string; runbooks?: string },
): Rule => ({
  alert: name,
  expr,
  ...(wait === undefined ? {} : { for: wait }),
  labels: { severity },
  annotations: { summary, runbook: `${runbooks}#${name.toLowerCase()}` },
});

/** A rule file in the YAML format of Prometheus. */
export const renderRules = (groups: readonly RuleGroup[]): string =>
  [
    '# Written by `npm run generate` from deploy/observability. Do not edit.',
    'groups:',
    ...groups.flatMap(({ name, interval, rules }) => [
      `  - name: ${name}`,
      ...(interval === undefined ? [] : [`    interval: ${interval}`]),
      '    rules:',
      ...rules.flatMap(renderRule),
    ]),
    '',
  ].join('\n');

const renderRule = (rule: Rule): string[] => [
  rule.record === undefined ? `      - alert: ${rule.alert}` : `      - record: ${rule.record}`,
  '        expr: |-',
  ...rule.expr.split('\n').map((line) => `          ${line}`),
  ...(rule.for === undefined ? [] : [`        for: ${rule.for}`]),
  ...renderMap('labels', rule.labels),
  ...renderMap('annotations', rule.annotations),
];

const renderMap = (name: string, map: Readonly<Record<string, string>> = {}): string[] => {
  const lines = Object.entries(map).map(([key, value]) => `          ${key}: ${JSON.stringify(value)}`);
  return lines.length === 0 ? [] : [`        ${name}:`, ...lines];
};
