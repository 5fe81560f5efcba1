import { createLogger } from '@muster/kit/logger';
import { runService } from '@muster/kit/run';
import { createApp } from './app.ts';
import { readConfig, settings } from './config.ts';
import { migrate } from './store/migrate.ts';

const SERVICE = 'session-service';

if (process.argv.includes('--migrate')) {
  const { common, postgres } = readConfig(process.env);
  const log = createLogger({ level: common.logLevel, service: SERVICE, instance: common.instanceName });
  log.info({ applied: await migrate(postgres.url) }, 'database.migrated');
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
