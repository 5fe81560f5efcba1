import { runCli } from './cli.ts';

const PARENT_CHECK_MS = 250;

/** One signal for the whole command, from the first time that it is asked for. */
let interrupted: AbortSignal | undefined;
const interruption = (): AbortSignal => {
  interrupted ??= listenForInterruption();
  return interrupted;
};

/**
 * Aborts at the first Ctrl-C, SIGTERM or SIGHUP, and when the process that started us is gone: `npx` and shells may
 * keep a signal to themselves. A second signal ends at once.
 */
const listenForInterruption = (): AbortSignal => {
  const wish = new AbortController();
  const abort = (): void => wish.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, abort);
  process.once('disconnect', abort);
  if (process.env['npm_command'] === 'exec') watchParent(abort);
  return wish.signal;
};

const watchParent = (onGone: () => void): void => {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, PARENT_CHECK_MS);
  timer.unref();
};

process.exitCode = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  out: (text) => void process.stdout.write(`${text}\n`),
  interruption,
  err: (text) => void process.stderr.write(`${text}\n`),
});
// The channel to the process that started us would keep us alive.
if (process.connected) process.disconnect?.();
