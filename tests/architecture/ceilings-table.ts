import { settings as aggregatorSettings } from '@muster/health-aggregator/config';
import { listCeilings, type ServiceLimit } from '@muster/kit/config';
import { settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings } from '@muster/ws-gateway/config/index';
import { read } from './source-files.ts';

const SERVICES = {
  'ws-gateway': gatewaySettings,
  'session-service': sessionSettings,
  'health-aggregator': aggregatorSettings,
} as const;

/** The document with the table, and the lines around it. */
export const DOCUMENT = 'docs/operations/sizing.md';
const BEGIN = '<!-- ceilings: written by `npm run generate` -->';
const END = '<!-- end of ceilings -->';

/** A marked setting and the service that has it. */
export interface ServiceCeiling extends ServiceLimit {
  readonly service: keyof typeof SERVICES;
}

/** Every ceiling of every service. */
export const allCeilings = (): ServiceCeiling[] =>
  Object.entries(SERVICES).flatMap(([service, settings]) =>
    listCeilings(settings).map((one) => ({ service: service as ServiceCeiling['service'], ...one })),
  );

/** Names of all settings of all services. */
export const settingNames = (): string[] =>
  Object.values(SERVICES).flatMap((settings) => Object.keys(settings.shape));

const rowOf = ({ service, name, fallback, unit, refusal, metric, rule }: ServiceCeiling): string =>
  `| ${service} | \`${name}\` | ${Number(fallback).toLocaleString('en-US')} | ${unit} | ${refusal} | \`${metric}\` | ${rule} |`;

/** The document with the table as it should be. */
export const withTable = (document: string): string => {
  const [before = '', rest = ''] = document.split(BEGIN);
  const [, after = ''] = rest.split(END);
  const table = [
    '| service | setting | default | counts | answer to one more | metric | test |',
    '| --- | --- | --: | --- | --- | --- | --- |',
    ...allCeilings().map(rowOf),
  ];
  return `${before}${BEGIN}\n${table.join('\n')}\n${END}${after}`;
};

export const documentNow = (): string => read(DOCUMENT);
