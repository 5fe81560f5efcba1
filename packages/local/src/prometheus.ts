import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type FindOptions,
  findOrInstall,
  findProgram,
  MissingProgramError,
  type Program,
} from './programs.ts';
import type { ServerSpec } from './server-process.ts';

const STOP_DEADLINE_MS = 10_000;
const PROBE_TIMEOUT_MS = 1_000;
/** Where the configuration of one machine says that service discovery, Alertmanager and the rules are. */
const DISCOVERY = /^( *)- url: http:\/\/127\.0\.0\.1:\d+(\/sd\/prometheus)\n( +refresh_interval: \S+\n)/m;
const ALERTMANAGER = /targets: \["127\.0\.0\.1:9093"\]/;
const RULES = /^( *)- (rules[\w-]*\.yml)$/gm;
const INTERVAL = /\b15s\b/g;

/** What this Prometheus watches. */
export interface PrometheusPlan {
  /** Base URLs of the aggregators. */
  readonly discovery: readonly string[];
  /** Absolute directory of the files with rules. */
  readonly rulesDir: string;
  /** Of scrapes, discovery and rules. */
  readonly intervalS: number;
}

/** A Prometheus as a child of ours, and where it keeps what it holds. */
export interface PrometheusOptions {
  readonly program: Program;
  readonly port: number;
  readonly dataDir: string;
  readonly configFile: string;
  readonly config: string;
  readonly retention: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The configuration in the repository does not have the form that we can adapt. */
export class PrometheusConfigError extends Error {
  override readonly name = 'PrometheusConfigError';
}

/** A Prometheus of this machine. Rejects with {@link MissingProgramError}. */
export const findPrometheus = async (options: FindOptions): Promise<Program> => {
  const path = await findOrInstall(
    (directories) => findProgram(['prometheus'], directories),
    'prometheus',
    options,
  );
  if (path !== undefined) return { path };
  throw new MissingProgramError(
    [
      '--observability needs Prometheus, and no prometheus was found. Three ways out:',
      '  1. install it:        apt-get install prometheus   or   brew install prometheus',
      '  2. all in containers: docker compose --profile observability up',
      '  3. do without:        the same command without --observability',
    ].join('\n'),
  );
};

/** The configuration of the repository, with the addresses of this fleet. Throws {@link PrometheusConfigError}. */
export const renderPrometheusConfig = (text: string, plan: PrometheusPlan): string => {
  if (!DISCOVERY.test(text)) throw new PrometheusConfigError('prometheus.yml has no http_sd_configs of ours');
  return text
    .replace(DISCOVERY, (_, indent: string, path: string, refresh: string) =>
      plan.discovery.map((url) => `${indent}- url: ${url}${path}\n${refresh}`).join(''),
    )
    .replace(ALERTMANAGER, 'targets: []')
    .replace(
      RULES,
      (_, indent: string, name: string) => `${indent}- ${JSON.stringify(`${plan.rulesDir}/${name}`)}`,
    )
    .replace(INTERVAL, `${plan.intervalS}s`)
    .replace('scrape_timeout: 5s', `scrape_timeout: ${Math.min(5, plan.intervalS)}s`);
};

/** A Prometheus on loopback. */
export const prometheusServer = (options: PrometheusOptions): ServerSpec => {
  const { program, port, dataDir, configFile } = options;
  mkdirSync(dirname(configFile), { recursive: true });
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(configFile, options.config);
  return {
    child: {
      name: 'prometheus',
      command: program.path,
      args: [
        `--config.file=${configFile}`,
        `--storage.tsdb.path=${dataDir}`,
        `--storage.tsdb.retention.time=${options.retention}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      env: options.env,
      logFile: options.logFile,
    },
    isReady: async () => {
      const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
      return (await fetch(`http://127.0.0.1:${port}/-/ready`, { signal })).ok;
    },
    stopSignal: 'SIGTERM',
    stopDeadlineMs: STOP_DEADLINE_MS,
  };
};
