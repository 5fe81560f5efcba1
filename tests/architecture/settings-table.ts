import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { listSettings, type SettingDescription } from '@muster/kit/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';

/** Documents with a table of the variables of a service. */
export const SETTINGS_DOCUMENTS = [
  ['services/session-service/README.md', sessionSettings],
  ['services/ws-gateway/README.md', gatewaySettings],
  ['services/health-aggregator/README.md', aggregatorSettings],
] as const;

const BEGIN = '<!-- settings: written by `npm run generate` -->';
const END = '<!-- end of settings -->';

/** The document with the table as the schema describes it. */
export const withSettingsTable = (document: string, settings: (typeof SETTINGS_DOCUMENTS)[number][1]): string => {
  const [before = '', rest = ''] = document.split(BEGIN);
  const [, after = ''] = rest.split(END);
  const table = [
    '| variable | default | bounds | meaning |',
    '| --- | --- | --- | --- |',
    ...listSettings(settings).map(rowOf),
  ];
  return `${before}${BEGIN}\n\n${table.join('\n')}\n\n${END}${after}`;
};

const rowOf = ({ name, isRequired, fallback, range = '', meaning }: SettingDescription): string =>
  `| \`${name}\` | ${isRequired ? '**required**' : defaultOf(fallback)} | ${range} | ${meaning} |`;

/** A value as code; a default that is described in words as it is. */
const defaultOf = (fallback: string | undefined): string => {
  if (fallback === undefined) return 'none';
  return /[\s`]/.test(fallback) ? fallback : `\`${fallback}\``;
};
