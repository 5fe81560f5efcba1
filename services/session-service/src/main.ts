import { createLogger } from '@muster/kit/logger';
import { runService } from '@muster/kit/run-service';
import { createApp } from './app.ts';
import { readConfig, settings } from './config.ts';
import { migrate } from './postgres/migration-runner.ts';

const SERVICE = 'session-service';

if (process.argv.includes('--migrate')) {
  try {
    const { common, postgres } = readConfig(process.env);
    const log = createLogger({ level: common.logLevel, service: SERVICE, instance: common.instanceName });
    log.info({ applied: await migrate(postgres.url) }, 'database.migrated');
  } catch (error) {
    process.stderr.write(`${SERVICE}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
} else {
  await runService({
    service: SERVICE,
    settings,
    readConfig,
    createApp,
    argv: process.argv,
    env: process.env,
  });
}
