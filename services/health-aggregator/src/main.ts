import { runService } from '@muster/kit/run-service';
import { createApp } from './app.ts';
import { readConfig, settings } from './config.ts';

await runService({
  service: 'health-aggregator',
  settings,
  readConfig,
  createApp,
  argv: process.argv,
  env: process.env,
});
