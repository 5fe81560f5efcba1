import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { LOG_EVENTS } from '@muster/telemetry/log-events';
import { CATALOGUE } from '@muster/telemetry/metric-catalogue';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';
import { expect, test } from 'vitest';
import { read } from './source-files.ts';

const KNOWN: Readonly<Record<string, ReadonlySet<string>>> = {
  variables: new Set([
    ...Object.keys(sessionSettings.shape),
    ...Object.keys(gatewaySettings.shape),
    ...Object.keys(aggregatorSettings.shape),
  ]),
  metrics: new Set(Object.keys(CATALOGUE)),
  'log events': new Set(Object.keys(LOG_EVENTS)),
};

/** Old and new names of a table of the release. */
const renames = (subject: string): { before: string; after: string[] }[] => {
  const [, section = ''] = read('CHANGELOG.md').split(`### Changed: ${subject}\n`);
  return [...(section.split('\n### ')[0] ?? '').matchAll(/^\| `([^`]+)` \| (`[^|]*`) \|/gm)].map(
    ([, before = '', after = '']) => ({
      before: before.replace(/\{.*/, ''),
      after: [...after.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
    }),
  );
};

test.each(Object.keys(KNOWN))('the renamed %s of the changelog exist, and the old names do not', (subject) => {
  const known = KNOWN[subject] as ReadonlySet<string>;
  const rows = renames(subject);
  expect(rows.length).toBeGreaterThan(3);
  expect(rows.flatMap(({ after }) => after).filter((name) => !known.has(name))).toEqual([]);
  expect(rows.map(({ before }) => before).filter((name) => known.has(name))).toEqual([]);
});
