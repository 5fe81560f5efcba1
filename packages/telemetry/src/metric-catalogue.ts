import { FLEET } from './aggregator-metrics.ts';
import { GATEWAY } from './gateway-metrics.ts';
import type { LabelsOf, Metric, MetricKind } from './metric.ts';
import { HTTP, PROCESS } from './process-metrics.ts';
import { SESSION, SESSION_CLIENT } from './session-metrics.ts';
import { POSTGRES, REDIS } from './store-metrics.ts';

/** A group of metrics, the services that expose them, and their dashboard. */
export interface Chapter {
  readonly title: string;
  readonly services: readonly ServiceName[];
  readonly board: 'fleet' | 'gateway' | 'sessions' | 'stores';
  readonly metrics: Readonly<Record<string, Metric>>;
}

export type ServiceName = 'session-service' | 'ws-gateway' | 'health-aggregator';

const ALL_SERVICES = ['session-service', 'ws-gateway', 'health-aggregator'] as const;

/** The catalogue, chapter by chapter. */
export const CHAPTERS: readonly Chapter[] = [
  { title: 'Process', services: ALL_SERVICES, board: 'fleet', metrics: PROCESS },
  { title: 'HTTP', services: ALL_SERVICES, board: 'fleet', metrics: HTTP },
  { title: 'Postgres', services: ['session-service'], board: 'stores', metrics: POSTGRES },
  { title: 'Redis', services: ALL_SERVICES, board: 'stores', metrics: REDIS },
  { title: 'Sessions', services: ['session-service'], board: 'sessions', metrics: SESSION },
  {
    title: 'Session checks and session bus',
    services: ['session-service', 'ws-gateway'],
    board: 'sessions',
    metrics: SESSION_CLIENT,
  },
  { title: 'Gateway', services: ['ws-gateway'], board: 'gateway', metrics: GATEWAY },
  { title: 'Fleet', services: ['health-aggregator'], board: 'fleet', metrics: FLEET },
];

const TABLE = {
  ...PROCESS,
  ...HTTP,
  ...POSTGRES,
  ...REDIS,
  ...SESSION,
  ...SESSION_CLIENT,
  ...GATEWAY,
  ...FLEET,
} as const;

type Table = typeof TABLE;

export const CATALOGUE: Readonly<Record<MetricName, Metric>> = TABLE;

export type MetricName = keyof Table;

type Named<K extends MetricKind> = {
  [N in MetricName]: Table[N] extends Metric<K> ? N : never;
}[MetricName];

export type CounterName = Named<'counter'>;
export type GaugeName = Named<'gauge'>;
export type HistogramName = Named<'histogram'>;

/** The labels of a metric and their values. */
export type LabelsOfMetric<N extends MetricName> = LabelsOf<Table[N]>;

/** Most series of one process of a service, without those of the runtime. */
export const SERVICE_BUDGETS: Readonly<Record<ServiceName, number>> = {
  'session-service': 2_000,
  'ws-gateway': 1_000,
  'health-aggregator': 1_200,
};
