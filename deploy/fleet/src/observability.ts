import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Program } from '@muster/local/programs';
import { prometheusServer, renderPrometheusConfig } from '@muster/local/prometheus';
import type { ServerSpec } from '@muster/local/server-process';
import { type LauncherEnvironment, urlOf } from './plan.ts';

const RULES = fileURLToPath(new URL('../../prometheus', import.meta.url));
/** One wants to see something at once on a machine of one's own. */
const INTERVAL_S = 5;
const RETENTION = '15d';

/** A Prometheus that finds the whole fleet through its aggregators, with the rules of the repository. */
export const prometheusSpec = (
  around: LauncherEnvironment,
  { program, port, dataDir, logDir }: { program: Program; port: number; dataDir: string; logDir: string },
): ServerSpec =>
  prometheusServer({
    program,
    port,
    dataDir: join(dataDir, 'prometheus'),
    configFile: join(dataDir, 'prometheus.yml'),
    config: renderPrometheusConfig(readFileSync(join(RULES, 'prometheus.yml'), 'utf8'), {
      discovery: around.plan.instances.filter(({ kind }) => kind === 'health-aggregator').map(urlOf),
      rulesDir: RULES,
      intervalS: INTERVAL_S,
    }),
    retention: RETENTION,
    logFile: join(logDir, 'prometheus.log'),
    env: around.env,
  });
