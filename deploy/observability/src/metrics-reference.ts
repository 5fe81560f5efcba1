import { LOG_EVENTS } from '@muster/telemetry/log-events';
import { budgetOf, type LabelSets, type Metric, unitOf } from '@muster/telemetry/metric';
import { CHAPTERS } from '@muster/telemetry/metric-catalogue';

/** Reference of the metrics in Markdown. */
export const renderReference = (): string => `# Metrics

Written by \`npm run generate\` from the catalogue in \`packages/telemetry/src\`. Do not edit.

Every process answers \`GET /metrics\` on its ops port in the text format of Prometheus. Labels \`instance\`, \`service\` and \`job\`
come from the scrape. **Series** is the budget of a metric per process; a test enforces it. A metric marked
_experimental_ may change its name or labels in a minor version, the others only in a major one. The runtime adds the
metrics \`process_*\` and \`nodejs_*\`.

${CHAPTERS.map(({ title, services, metrics }) => chapter(title, services, Object.entries(metrics))).join('\n')}`;

const chapter = (title: string, services: readonly string[], metrics: readonly [string, Metric][]): string =>
  [
    `## ${title}`,
    '',
    `Exposed by: ${services.join(', ')}.`,
    '',
    '| metric | kind | unit | labels | series | meaning |',
    '| --- | --- | --- | --- | ---: | --- |',
    ...metrics.map(row),
    '',
  ].join('\n');

const row = ([name, metric]: readonly [string, Metric]): string => {
  const note = metric.stability === 'experimental' ? ' _Experimental._' : '';
  const cells = [
    `\`${name}\``,
    metric.kind,
    unitOf(name),
    labels(metric.labels),
    budgetOf(metric),
    `${metric.help}${note}`,
  ];
  return `| ${cells.join(' | ')} |`;
};

const labels = (sets: LabelSets): string =>
  Object.entries(sets)
    .map(([label, values]) =>
      'atMost' in values
        ? `\`${label}\` (at most ${values.atMost}: ${values.because})`
        : `\`${label}\`: ${values.map((value) => `\`${value}\``).join(', ')}`,
    )
    .join('<br>');

/** Reference of the log events in Markdown. */
export const renderLogEvents = (): string => `# Log events

Written by \`npm run generate\` from \`packages/telemetry/src/log-events.ts\`. Do not edit.

A log line is one JSON object with \`time\`, \`level\`, \`service\`, \`instance\` and \`event\`; the other fields depend on the event.

| event | level | meaning |
| --- | --- | --- |
${Object.entries(LOG_EVENTS)
  .map(([event, { levels, meaning }]) => `| \`${event}\` | ${levels.join(', ')} | ${meaning} |`)
  .join('\n')}
`;
