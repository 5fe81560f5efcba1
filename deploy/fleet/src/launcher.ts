import { once } from 'node:events';
import { type LocalFleetOptions, startFleet } from './fleet.ts';
import type { LauncherOptions } from './options.ts';
import { summaryOf } from './summary.ts';

/** [LA15] Ctrl-C reaches the launcher from the terminal, from npm and from the bootstrap: signals within this time are one request. */
const REPEATED_SIGNAL_MS = 500;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Starts the fleet, prints its summary, waits for a signal, and stops it. Resolves with the exit code. */
export const runLauncher = async (
  { data, ...size }: LauncherOptions,
  others: Pick<LocalFleetOptions, 'env' | 'entryPoints'>,
): Promise<number> => {
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1000).toFixed(1);
  const stopSignals = listenForStopSignals();
  try {
    const fleet = await startFleet({
      ...size,
      ...others,
      dataDir: data,
      log: (line) => print(`  ${seconds().padStart(5)} s  ${line}`),
      signal: stopSignals.stop,
      killSignal: stopSignals.kill,
    });
    if (!stopSignals.stop.aborted) {
      print(summaryOf(fleet.describe(), { dataDir: fleet.dataDir, seconds: seconds() }));
      await once(stopSignals.stop, 'abort');
    }
    await fleet.stop();
    print('Stopped.');
    return 0;
  } catch (error) {
    if (stopSignals.stop.aborted) return 0;
    const message = error instanceof Error ? error.message : String(error);
    print(`\nMuster did not start:\n  ${message.replaceAll('\n', '\n  ')}`);
    return 1;
  }
};

/** Abort signals of the first and the second request to stop: a signal, or the end of the bootstrap. */
const listenForStopSignals = (): { stop: AbortSignal; kill: AbortSignal } => {
  const stopping = new AbortController();
  const killing = new AbortController();
  let requestedAt = Number.NEGATIVE_INFINITY;
  const onRequest = (): void => {
    if (performance.now() - requestedAt < REPEATED_SIGNAL_MS) return;
    requestedAt = performance.now();
    if (!stopping.signal.aborted) {
      print('\nStopping. A second signal kills all processes.');
      stopping.abort();
      return;
    }
    killing.abort();
    process.exit(1);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onRequest);
  // The IPC channel closes when the bootstrap ends, also when it is killed.
  process.on('disconnect', onRequest);
  process.channel?.unref();
  // The reader of the output may end; the fleet continues.
  process.stdout.on('error', () => {});
  process.on('uncaughtException', (error) => {
    print(`The launcher failed: ${error.stack}`);
    killing.abort();
    process.exit(1);
  });
  return { stop: stopping.signal, kill: killing.signal };
};
