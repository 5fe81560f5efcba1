import { ALERT_GROUPS } from './alerts.ts';
import { BOARDS } from './dashboards.ts';
import { renderBoard } from './grafana.ts';
import { renderLogEvents, renderReference } from './metrics-reference.ts';
import { renderRules } from './prometheus-rules.ts';
import { SLO_GROUPS } from './slo-rules.ts';
import { renderRunbooks } from './slo-runbooks.ts';

/** Generated files: path in the repository → text. */
export const generatedFiles = (): ReadonlyMap<string, string> =>
  new Map([
    ['packages/telemetry/METRICS.md', renderReference()],
    ['packages/telemetry/LOG-EVENTS.md', renderLogEvents()],
    ['deploy/prometheus/rules.yml', renderRules(ALERT_GROUPS)],
    ['deploy/prometheus/rules-slo.yml', renderRules(SLO_GROUPS)],
    ['deploy/prometheus/runbooks-slo.md', renderRunbooks()],
    ...BOARDS.map((board): [string, string] => [`deploy/grafana/dashboards/${board.name}.json`, renderBoard(board)]),
  ]);
