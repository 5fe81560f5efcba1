import { runService } from '@muster/kit/run-service';
import { createApp } from './app.ts';
import { readConfig, settings } from './config/index.ts';

await runService({
  service: 'ws-gateway',
  settings,
  readConfig,
  createApp,
  argv: process.argv,
  env: process.env,
});
