import { FleetError, startFleet } from './fleet.ts';
import { HELP, type LauncherOptions, parseOptions } from './options.ts';
import { summaryOf } from './summary.ts';

/** Ctrl-C reaches us from the terminal, from npm and from the bootstrap: these are one wish, not three. */
const SAME_WISH_MS = 500;

const startedAt = performance.now();
const seconds = (): string => ((performance.now() - startedAt) / 1000).toFixed(1);
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const say = (line: string): void => print(`  ${seconds().padStart(5)} s  ${line}`);

const run = async (options: LauncherOptions): Promise<number> => {
  const stopping = Promise.withResolvers<void>();
  const starting = new AbortController();
  const killing = new AbortController();
  let wishes = 0;
  let lastWish = 0;
  const onSignal = () => {
    if (wishes > 0 && performance.now() - lastWish < SAME_WISH_MS) return;
    lastWish = performance.now();
    wishes += 1;
    if (wishes === 1) print('\nStopping. Once more ends it at once.');
    else {
      killing.abort();
      process.exit(1);
    }
    starting.abort();
    stopping.resolve();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  // The bootstrap keeps this channel open as long as it lives: when it is killed, we stop too.
  process.on('disconnect', onSignal);
  process.channel?.unref();
  // Whoever reads our output may leave; the fleet stays.
  process.stdout.on('error', () => {});
  process.on('uncaughtException', (error) => {
    print(`the launcher itself failed: ${error.stack}`);
    killing.abort();
    process.exit(1);
  });

  const { data, ...rest } = options;
  try {
    const fleet = await startFleet({
      ...rest,
      dataDir: data,
      env: process.env,
      say,
      signal: starting.signal,
      killSignal: killing.signal,
    });
    if (wishes === 0) print(summaryOf(fleet.describe(), { dataDir: fleet.dataDir, seconds: seconds() }));
    await stopping.promise;
    await fleet.stop();
    say('everything has ended');
    return 0;
  } catch (error) {
    if (starting.signal.aborted) return 0;
    print(`\nMuster cannot start:\n${indent(error instanceof FleetError ? error.message : reasonOf(error))}`);
    return 1;
  }
};

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const indent = (text: string): string =>
  text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');

const parsed = parseOptions(process.argv.slice(2));
if (parsed.is === 'help') print(HELP);
else if (parsed.is === 'refused') {
  process.stderr.write(`npm start: ${parsed.message}\n`);
  process.exitCode = 2;
} else process.exit(await run(parsed.options));
