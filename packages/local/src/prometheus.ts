import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { executable, programFinder } from './programs.ts';
import { type ForegroundOptions, foregroundServer, type ServerSpec } from './server-process.ts';

const STOP_DEADLINE_MS = 10_000;
const PROBE_TIMEOUT_MS = 1_000;
/** The parts of deploy/prometheus/prometheus.yml that depend on the fleet. */
const DISCOVERY = /^( *)- url: http:\/\/127\.0\.0\.1:\d+(\/sd\/prometheus)\n( +refresh_interval: \S+\n)/m;
const ALERTMANAGER = /targets: \["127\.0\.0\.1:9093"\]/;
const RULES = /^( *)- (rules[\w-]*\.yml)$/gm;
const INTERVAL = /\b15s\b/g;

/** Scrape targets and interval. */
export interface PrometheusPlan {
  /** Base URLs of the aggregators. */
  readonly discovery: readonly string[];
  /** Absolute directory of the rule files. */
  readonly rulesDir: string;
  /** Interval of scrapes, discovery and rules, s. */
  readonly intervalS: number;
}

/** Prometheus with a complete configuration. */
export interface PrometheusOptions extends ForegroundOptions {
  readonly dataDir: string;
  readonly configFile: string;
  readonly config: string;
  readonly retention: string;
}

/** The configuration of the repository does not have the expected form. */
export class PrometheusConfigError extends Error {
  override readonly name = 'PrometheusConfigError';
}

/** The Prometheus of this machine. Rejects with {@link MissingProgramError}. */
export const findPrometheus = programFinder({
  find: executable('prometheus'),
  debianPackage: 'prometheus',
  missing: [
    '--observability requires Prometheus, and the program prometheus was not found. Either',
    '  1. install it:              apt-get install prometheus   or   brew install prometheus',
    '  2. run the fleet in Docker: docker compose --profile observability up',
    '  3. start without it:        the same command without --observability',
  ],
});

/** The configuration of the repository, with the addresses of this fleet. Throws {@link PrometheusConfigError}. */
export const renderPrometheusConfig = (text: string, plan: PrometheusPlan): string => {
  if (!DISCOVERY.test(text))
    throw new PrometheusConfigError('prometheus.yml: expected http_sd_configs with a URL that ends in /sd/prometheus');
  return text
    .replace(DISCOVERY, (_, indent: string, path: string, refresh: string) =>
      plan.discovery.map((url) => `${indent}- url: ${url}${path}\n${refresh}`).join(''),
    )
    .replace(ALERTMANAGER, 'targets: []')
    .replace(RULES, (_, indent: string, name: string) => `${indent}- ${JSON.stringify(`${plan.rulesDir}/${name}`)}`)
    .replace(INTERVAL, `${plan.intervalS}s`)
    .replace('scrape_timeout: 5s', `scrape_timeout: ${Math.min(5, plan.intervalS)}s`);
};

/** Prometheus on loopback. */
export const prometheusServer = (options: PrometheusOptions): ServerSpec => {
  const { port, dataDir, configFile } = options;
  mkdirSync(dirname(configFile), { recursive: true });
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(configFile, options.config);
  return foregroundServer({
    name: 'prometheus',
    ...options,
    args: [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${dataDir}`,
      `--storage.tsdb.retention.time=${options.retention}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    isReady: async () => {
      const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
      return (await fetch(`http://127.0.0.1:${port}/-/ready`, { signal })).ok;
    },
    stopDeadlineMs: STOP_DEADLINE_MS,
  });
};
