import { CHAPTERS, type Chapter } from '@muster/telemetry/metric-catalogue';
import { OBJECTIVES } from './objectives.ts';
import { graph, type PanelSpec, panelOf, processPanels, stat } from './panels.ts';
import { LONG_WINDOWS, SHORT_WINDOWS } from './slo-rules.ts';

/** A row of panels. */
export interface Row {
  readonly title: string;
  readonly panels: readonly PanelSpec[];
}

/** A dashboard without the layout of its panels. */
export interface Board {
  /** File name without extension, and part of the `uid`. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Row[];
}

const BUDGET = [
  { color: 'red', value: null },
  { color: 'orange', value: 0 },
  { color: 'green', value: 0.25 },
] as const;
const ZERO_IS_GOOD = [
  { color: 'green', value: null },
  { color: 'red', value: 1 },
] as const;

/** Rows of a dashboard from the catalogue, in its order. */
const catalogueRows = (board: Chapter['board']): Row[] => {
  const metrics = CHAPTERS.filter((each) => each.board === board).flatMap((each) => Object.entries(each.metrics));
  const rows = Map.groupBy(metrics, ([, { panel }]) => panel.row);
  return [...rows].map(([title, entries]) => ({
    title,
    panels: entries.map(([name, metric]) => panelOf(name, metric)),
  }));
};

const connections = (kind: string): string => `sum(max by (service) (fleet_capacity_connections{kind="${kind}"}))`;

const overview: Row = {
  title: 'Overview',
  panels: [
    stat('Services not operational', {
      expr: 'count(max by (service) (fleet_service_status{status="operational"}) == 0) or vector(0)',
      unit: 'short',
      steps: ZERO_IS_GOOD,
    }),
    stat('Firing alerts', {
      expr: 'count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)',
      unit: 'short',
      steps: ZERO_IS_GOOD,
    }),
    stat('Connections', { expr: connections('used'), unit: 'short' }),
    stat('Free connection capacity', {
      expr: `1 - ${connections('used')} / ${connections('limit')}`,
      unit: 'percentunit',
      steps: BUDGET,
    }),
    stat('Sessions', { expr: 'max(session_active)', unit: 'short' }),
    stat('Delivery time of a publication, p99', {
      expr: 'histogram_quantile(0.99, sum by (le) (rate(fleet_synthetic_check_duration_seconds_bucket{step="receive"}[10m])))',
      unit: 's',
    }),
  ],
};

const objectiveRow: Row = {
  title: 'Objectives',
  panels: OBJECTIVES.map(({ name }) =>
    stat(`Remaining budget: ${name}`, {
      expr: `slo:budget_left:ratio{slo="${name}"}`,
      unit: 'percentunit',
      steps: BUDGET,
    }),
  ),
};

const slo: Board = {
  name: 'slo',
  title: 'Muster: objectives',
  description: 'Service level objectives over 30 days, error budgets and burn rates.',
  rows: [
    objectiveRow,
    {
      title: 'Alerts',
      panels: [
        {
          title: 'Firing',
          type: 'table',
          unit: 'short',
          targets: [{ expr: 'ALERTS{alertstate="firing",alertname!="Watchdog"}', legend: '' }],
          width: 24,
          height: 7,
        },
      ],
    },
    ...OBJECTIVES.map(({ name, title }) => ({
      title: `${name}: ${title}`,
      panels: [
        graph('Burn rate by window', 'none', {
          targets: [...SHORT_WINDOWS, ...LONG_WINDOWS].map((window) => ({
            expr: `slo:errors:ratio_rate${window}{slo="${name}"} / slo:budget:ratio{slo="${name}"}`,
            legend: window,
          })),
          width: 12,
        }),
        graph('Events per second', 'cps', {
          targets: [{ expr: `slo:events:rate5m{slo="${name}"}`, legend: 'total' }],
          width: 6,
        }),
        graph('Remaining budget', 'percentunit', {
          targets: [{ expr: `slo:budget_left:ratio{slo="${name}"}`, legend: 'remaining' }],
          width: 6,
        }),
      ],
    })),
  ],
};

/** All dashboards. */
export const BOARDS: readonly Board[] = [
  {
    name: 'fleet',
    title: 'Muster: fleet',
    description: 'Overview: status, capacity and recent changes of the fleet.',
    rows: [overview, objectiveRow, ...catalogueRows('fleet'), { title: 'Processes', panels: processPanels('.+') }],
  },
  {
    name: 'gateway',
    title: 'Muster: gateways',
    description: 'Connections, traffic, recovery and errors of the gateways.',
    rows: [...catalogueRows('gateway'), { title: 'Processes', panels: processPanels('ws-gateway') }],
  },
  {
    name: 'sessions',
    title: 'Muster: sessions',
    description: 'Session checks, session lifetimes, and the subscribers of session events.',
    rows: [...catalogueRows('sessions'), { title: 'Processes', panels: processPanels('session-service') }],
  },
  {
    name: 'stores',
    title: 'Muster: stores',
    description: 'Postgres and Redis, measured by the fleet.',
    rows: catalogueRows('stores'),
  },
  slo,
];
