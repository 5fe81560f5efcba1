import { runService } from '@muster/kit/run';
import { createApp } from './app.ts';
import { readConfig, settings } from './config/index.ts';

await runService({
  service: 'ws-gateway',
  settings,
  readConfig,
  createApp: async (config, world) => {
    const app = await createApp(config, world);
    // Rotates keys and group options without a restart. An invalid configuration changes nothing.
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
