import { runService } from '@muster/kit/run';
import { createApp } from './app.ts';
import { readConfig, settings } from './config/index.ts';

await runService({
  service: 'ws-gateway',
  settings,
  readConfig,
  createApp: async (config, world) => {
    const app = await createApp(config, world);
    // New keys and options of groups without a restart: files are read again. What is wrong leaves everything as it was.
    process.on('SIGHUP', () => {
      try {
        app.reload(readConfig(process.env));
      } catch (error) {
        world.log.error({ error }, 'gateway.not_reloaded');
      }
    });
    return app;
  },
  argv: process.argv,
  env: process.env,
});
