import type { AtMost, LabelValues, Metric } from '@muster/telemetry/metric';
import { CATALOGUE } from '@muster/telemetry/metric-catalogue';
import { RUNTIME } from '@muster/telemetry/process-metrics';

/** Labels that the scrape adds to every series. */
const TARGET_LABELS = ['instance', 'job', 'service'];
/** Series that Prometheus itself writes, with their labels. */
const OWN_SERIES: Readonly<Record<string, readonly string[]>> = {
  up: [],
  ALERTS: ['alertname', 'alertstate', 'severity', 'slo'],
};
const KEYWORDS = new Set(
  'by without on ignoring group_left group_right and or unless bool offset inf nan le'.split(' '),
);
const STRING = /"(?:[^"\\]|\\.)*"/g;
const SELECTOR = /([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?/g;
const MATCHER = /(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g;
const LABEL_LIST = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;
const PLAIN_WORDS = /^[\w|]+$/;

interface Series {
  readonly labels: readonly string[];
  readonly values: Readonly<Record<string, LabelValues | AtMost>>;
}

/** Labels of a series, and their closed values; undefined for a series that no process exposes. */
const seriesOf = (name: string, recorded: ReadonlyMap<string, readonly string[]>): Series | undefined => {
  const plain = recorded.get(name) ?? OWN_SERIES[name] ?? RUNTIME[name.replace(/_(sum|count)$/, '')];
  if (plain !== undefined) return { labels: plain, values: {} };
  const base = name.replace(/_(bucket|sum|count)$/, '');
  const metric = (CATALOGUE as Readonly<Record<string, Metric | undefined>>)[base === name ? name : base];
  if (metric === undefined || (metric.kind === 'histogram') !== (base !== name)) return undefined;
  const own = Object.keys(metric.labels);
  return { labels: name.endsWith('_bucket') ? [...own, 'le'] : own, values: metric.labels };
};

/**
 * Names in an expression that no process exposes: unknown series, unknown labels, and values outside a closed label.
 * `recorded` has the series of recording rules with their labels.
 */
export const problemsOf = (
  expression: string,
  recorded: ReadonlyMap<string, readonly string[]> = new Map(),
): string[] => {
  const problems: string[] = [];
  const reachable = new Set<string>(TARGET_LABELS);
  for (const [name, matchers] of selectorsOf(expression)) {
    const series = seriesOf(name, recorded);
    if (series === undefined) {
      problems.push(`unknown metric ${name}`);
      continue;
    }
    for (const label of series.labels) reachable.add(label);
    problems.push(...matchersProblems(name, matchers, series));
  }
  for (const [, list = ''] of expression.matchAll(LABEL_LIST)) {
    const unknown = list
      .split(',')
      .map((label) => label.trim())
      .filter((label) => label !== '' && !reachable.has(label));
    problems.push(...unknown.map((label) => `no series of the expression has the label ${label}`));
  }
  return problems;
};

const matchersProblems = (name: string, matchers: string, { labels, values }: Series): string[] =>
  [...matchers.matchAll(MATCHER)].flatMap(([, label = '', operator = '', text = '']) => {
    if (!labels.includes(label))
      return TARGET_LABELS.includes(label) ? [] : [`${name} does not have the label ${label}`];
    const known = values[label];
    if (known === undefined || 'atMost' in known || text === '') return [];
    if (operator.endsWith('~') && !PLAIN_WORDS.test(text)) return [];
    const requested = operator.endsWith('~') ? text.split('|') : [text];
    return requested
      .filter((value) => !known.includes(value))
      .map((value) => `${name}: ${label}="${value}" is not in the catalogue`);
  });

/** Series of an expression, each with its matchers. */
const selectorsOf = (expression: string): [string, string][] => {
  const bare = expression.replaceAll(LABEL_LIST, ' ');
  const strings: string[] = [];
  // Strings are replaced by their indexes: a word inside a string is not a series.
  const hidden = bare.replaceAll(STRING, (text) => `"${strings.push(text) - 1}"`);
  const found: [string, string][] = [];
  for (const match of hidden.matchAll(SELECTOR)) {
    const [whole, name = '', matchers = ''] = match;
    const before = hidden[match.index - 1] ?? ' ';
    const after = hidden.slice(match.index + whole.length).trimStart();
    const isPart = /[\w$.[":]/.test(before);
    if (isPart || after.startsWith('(') || KEYWORDS.has(name.toLowerCase())) continue;
    found.push([name, matchers.replaceAll(/"(\d+)"/g, (_, index: string) => strings[Number(index)] ?? '""')]);
  }
  return found;
};
