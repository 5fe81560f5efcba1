import { createLogger } from '@muster/kit/logger';
import { runService } from '@muster/kit/run';
import { createApp } from './app.ts';
import { readConfig, settings } from './config.ts';
import { migrate } from './postgres/migrate.ts';

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
    createApp: async (config, world) => {
      const app = await createApp(config, world);
      // New signing keys without a restart: what SESSION_SECRETS_FILE holds is read again.
      process.on('SIGHUP', () => {
        try {
          app.reload(readConfig(process.env));
        } catch (error) {
          world.log.error({ error }, 'process.reload_failed');
        }
      });
      return app;
    },
    argv: process.argv,
    env: process.env,
  });
}
