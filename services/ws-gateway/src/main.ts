import { runService } from '@muster/kit/run';
import { createApp } from './app.ts';
import { readConfig, settings } from './config.ts';

await runService({
  service: 'ws-gateway',
  settings,
  readConfig,
  createApp: async (config, world) => {
    const app = await createApp(config, world);
    process.on('SIGHUP', app.reload);
    return app;
  },
  argv: process.argv,
  env: process.env,
});
