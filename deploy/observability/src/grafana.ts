import type { Board } from './dashboards.ts';
import type { PanelSpec } from './panels.ts';

const SCHEMA_VERSION = 39;
const COLUMNS = 24;
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana replaces its variable
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' } as const;

/** A dashboard in the JSON format of Grafana, schema version 39. */
export const renderBoard = (board: Board): string =>
  `${JSON.stringify(
    {
      uid: `muster-${board.name}`,
      title: board.title,
      description: board.description,
      tags: ['muster'],
      schemaVersion: SCHEMA_VERSION,
      editable: true,
      refresh: '30s',
      time: { from: 'now-1h', to: 'now' },
      timezone: 'browser',
      graphTooltip: 1,
      links: [
        {
          type: 'dashboards',
          title: 'Muster',
          tags: ['muster'],
          asDropdown: true,
          includeVars: true,
          keepTime: true,
        },
      ],
      annotations: { list: ANNOTATIONS },
      templating: { list: VARIABLES },
      panels: layOut(board),
    },
    null,
    2,
  )}\n`;

/** Markers on the time axis of every dashboard. */
export const ANNOTATIONS = [
  {
    name: 'New version',
    datasource: DATASOURCE,
    enable: true,
    iconColor: 'blue',
    expr: 'count by (version) (service_build_info) unless count by (version) (service_build_info offset 2m)',
    titleFormat: 'Version {{version}}',
  },
  {
    name: 'New leader',
    datasource: DATASOURCE,
    enable: true,
    iconColor: 'purple',
    expr: 'changes(max(fleet_epoch)[2m:30s]) > 0',
    titleFormat: 'Another aggregator is the leader',
  },
];

/** A variable with the values of a label of the metric `of`. `allValue` is the regular expression of "All". */
const labelVariable = (name: string, label: string, { of, ...all }: { of: string; allValue?: string }) => ({
  name,
  label,
  type: 'query',
  datasource: DATASOURCE,
  query: { query: `label_values(${of}, ${name})`, refId: name },
  refresh: 2,
  includeAll: true,
  ...all,
  multi: true,
  current: { selected: true, text: ['All'], value: ['$__all'] },
});

const VARIABLES = [
  { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
  labelVariable('service', 'Service', { of: 'service_build_info', allValue: '.+' }),
  labelVariable('instance', 'Instance', { of: 'service_build_info{service=~"$service"}' }),
];

/** Panels with ids and positions: rows from top to bottom, panels from left to right within 24 columns. */
const layOut = ({ rows }: Board): object[] => {
  const panels: object[] = [];
  let y = 0;
  for (const { title, panels: specs } of rows) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let height = 0;
    for (const spec of specs) {
      if (x + spec.width > COLUMNS) {
        x = 0;
        y += height;
        height = 0;
      }
      panels.push(renderPanel(spec, panels.length + 1, { x, y, w: spec.width, h: spec.height }));
      x += spec.width;
      height = Math.max(height, spec.height);
    }
    y += height;
  }
  return panels;
};

const renderPanel = (spec: PanelSpec, id: number, gridPos: object): object => ({
  id,
  type: spec.type,
  title: spec.title,
  description: spec.description,
  datasource: DATASOURCE,
  gridPos,
  fieldConfig: {
    defaults: {
      unit: spec.unit,
      min: spec.min,
      thresholds: spec.steps && { mode: 'absolute', steps: spec.steps },
    },
    overrides: [],
  },
  options: OPTIONS[spec.type],
  targets: spec.targets.map(({ expr, legend }, index) => ({
    refId: String.fromCharCode('A'.charCodeAt(0) + index),
    datasource: DATASOURCE,
    expr,
    legendFormat: legend,
    ...(spec.type === 'timeseries' ? { range: true } : { instant: true }),
    ...(spec.type === 'table' ? { format: 'table' } : {}),
  })),
});

const OPTIONS = {
  timeseries: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  stat: {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    colorMode: 'value',
    graphMode: 'area',
  },
  table: { showHeader: true },
} as const;
