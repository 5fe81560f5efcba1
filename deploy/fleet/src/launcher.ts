import { type LocalFleetOptions, startFleet } from './fleet.ts';
import type { LauncherOptions } from './options.ts';
import { summaryOf } from './summary.ts';

/** [LA15] Ctrl-C reaches us from the terminal, from npm and from the bootstrap: these are one wish, not three. */
const REPEATED_SIGNAL_MS = 500;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** The whole life of a launcher process: start, tell where everything is, wait for a signal, stop. Answers the exit code. */
export const runLauncher = async (
  { data, ...size }: LauncherOptions,
  others: Pick<LocalFleetOptions, 'env' | 'entryPoints'>,
): Promise<number> => {
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1000).toFixed(1);
  const wishes = listenForStopSignals();
  try {
    const fleet = await startFleet({
      ...size,
      ...others,
      dataDir: data,
      say: (line) => print(`  ${seconds().padStart(5)} s  ${line}`),
      signal: wishes.toStop,
      killSignal: wishes.toKill,
    });
    if (!wishes.toStop.aborted) {
      print(summaryOf(fleet.describe(), { dataDir: fleet.dataDir, seconds: seconds() }));
    }
    await aborted(wishes.toStop);
    await fleet.stop();
    print('Everything has ended.');
    return 0;
  } catch (error) {
    if (wishes.toStop.aborted) return 0;
    const message = error instanceof Error ? error.message : String(error);
    print(`\nMuster cannot start:\n  ${message.replaceAll('\n', '\n  ')}`);
    return 1;
  }
};

/** Signals, and the end of who started us, turned into two wishes: stop, and kill. */
const listenForStopSignals = (): { toStop: AbortSignal; toKill: AbortSignal } => {
  const stopping = new AbortController();
  const killing = new AbortController();
  let wishedAt = Number.NEGATIVE_INFINITY;
  const onWish = (): void => {
    if (performance.now() - wishedAt < REPEATED_SIGNAL_MS) return;
    wishedAt = performance.now();
    if (!stopping.signal.aborted) {
      print('\nStopping. Once more ends it at once.');
      stopping.abort();
      return;
    }
    killing.abort();
    process.exit(1);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onWish);
  // The bootstrap keeps this channel open as long as it lives: when it is killed, we stop too.
  process.on('disconnect', onWish);
  process.channel?.unref();
  // Whoever reads our output may leave; the fleet stays.
  process.stdout.on('error', () => {});
  process.on('uncaughtException', (error) => {
    print(`The launcher itself failed: ${error.stack}`);
    killing.abort();
    process.exit(1);
  });
  return { toStop: stopping.signal, toKill: killing.signal };
};

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
