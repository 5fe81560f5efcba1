import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { after, systemClock } from './clock.ts';
import { ConfigError, describeSettings } from './config.ts';
import type { CommonConfig } from './config-common.ts';
import { createLogger, type Logger } from './logger.ts';
import type { Runtime } from './runtime.ts';
import { systemRandom } from './runtime.ts';

/** A running service. Disposing it closes everything it opened, in reverse order; idempotent. */
export interface RunningApp extends AsyncDisposable {
  /** Refuses new work and completes the current work; must settle soon after the signal aborts. */
  drain(signal: AbortSignal): Promise<void>;
}

/** An app that may apply a new configuration without a restart. */
interface ReloadableApp<C> extends RunningApp {
  /** Applies what can change at runtime: keys, group options. Called on SIGHUP with a valid configuration. */
  reload?(config: C): void;
}

interface Service<C extends { readonly common: CommonConfig }> {
  readonly service: string;
  readonly settings: z.ZodObject;
  readonly readConfig: (env: NodeJS.ProcessEnv) => C;
  readonly createApp: (config: C, runtime: Runtime) => Promise<ReloadableApp<C>>;
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

const EXIT_OK = 0;
const EXIT_FAILED = 1;

/** The version of this release. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

/**
 * Runs a service: `--help`, `--check`, start, wait for a signal, drain, exit. The first SIGTERM or SIGINT drains for at most
 * `drainTimeoutMs`; a second signal exits at once. SIGHUP reloads the configuration.
 */
export const runService = async <C extends { readonly common: CommonConfig }>(service: Service<C>): Promise<void> => {
  const args = service.argv.slice(2);
  if (args.includes('--help')) return print(helpText(service), EXIT_OK);
  let config: C;
  try {
    config = service.readConfig(service.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return print(`${service.service}: ${error.message}\nRun with --help for all variables.`, EXIT_FAILED);
  }
  if (args.includes('--check')) return print(`${service.service}: the configuration is valid`, EXIT_OK);
  const unknown = args[0];
  if (unknown !== undefined) {
    return print(`${service.service}: unknown option ${unknown}; expected --help or --check`, EXIT_FAILED);
  }
  const log = createLogger({
    level: config.common.logLevel,
    service: service.service,
    instance: config.common.instanceName,
  });
  const runtime: Runtime = { clock: systemClock, random: systemRandom, log };
  const createApp = async (): Promise<RunningApp> => {
    const app = await service.createApp(config, runtime);
    reloadOnSignal(app, () => service.readConfig(service.env), log);
    return app;
  };
  process.exitCode = await runUntilSignal(createApp, {
    log,
    drainMs: config.common.drainTimeoutMs,
  });
  // Handles that a library left open must not keep a stopped process alive.
  process.exit();
};

/** SIGHUP reads the environment and the files that it names again; an invalid configuration changes nothing. */
const reloadOnSignal = <C>(app: ReloadableApp<C>, readConfig: () => C, log: Logger): void => {
  if (app.reload === undefined) return;
  process.on('SIGHUP', () => {
    try {
      app.reload?.(readConfig());
    } catch (error) {
      log.error({ error }, 'process.reload_failed');
    }
  });
};

/** Creates the app, waits for a signal, drains and disposes it. Resolves to the exit code. */
export const runUntilSignal = async (
  create: () => Promise<RunningApp>,
  { log, drainMs }: { log: Logger; drainMs: number },
): Promise<number> => {
  const stopping = Promise.withResolvers<string>();
  let signals = 0;
  const onSignal = (signal: string) => {
    signals += 1;
    stopping.resolve(signal);
    if (signals > 1) {
      log.warn({ signal }, 'process.killed');
      process.exit(EXIT_FAILED);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.on('unhandledRejection', (error) => log.error({ error }, 'process.unhandled_rejection'));
  process.on('uncaughtException', (error) => {
    log.error({ error }, 'process.uncaught_exception');
    process.exit(EXIT_FAILED);
  });

  let app: RunningApp;
  try {
    app = await create();
  } catch (error) {
    log.error({ error }, 'process.start_failed');
    return EXIT_FAILED;
  }
  log.info({}, 'process.started');
  log.info({ signal: await stopping.promise }, 'process.draining');
  return stopApp(app, { log, drainMs });
};

const stopApp = async (app: RunningApp, { log, drainMs }: { log: Logger; drainMs: number }): Promise<number> => {
  const deadline = new AbortController();
  const stop = after(drainMs, () => deadline.abort());
  try {
    await app.drain(deadline.signal);
    await app[Symbol.asyncDispose]();
  } catch (error) {
    log.error({ error }, 'process.stop_failed');
    return EXIT_FAILED;
  } finally {
    stop();
  }
  const late = deadline.signal.aborted;
  log.info({ late }, 'process.stopped');
  return late ? EXIT_FAILED : EXIT_OK;
};

const helpText = ({ service, settings }: { service: string; settings: z.ZodObject }): string =>
  `${service} ${VERSION}

Configuration comes from environment variables; NAME_FILE reads NAME from a file.
  --check   validate the configuration and exit
  --help    print this text

${describeSettings(settings)}`;

const print = (text: string, exitCode: number): void => {
  process.stdout.write(`${text}\n`);
  process.exitCode = exitCode;
};
