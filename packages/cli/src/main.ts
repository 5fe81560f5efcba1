import { runCli } from './cli.ts';

const PARENT_CHECK_MS = 250;

/** The signal of the command, created at the first call of `interruption`. */
let interrupted: AbortSignal | undefined;
const interruption = (): AbortSignal => {
  interrupted ??= listenForInterruption();
  return interrupted;
};

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP, and when the parent process exits: `npx` and shells may not forward
 * signals. A second signal ends the process.
 */
const listenForInterruption = (): AbortSignal => {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, abort);
  process.once('disconnect', abort);
  if (process.env['npm_command'] === 'exec') watchParent(abort);
  return controller.signal;
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
// The IPC channel to the parent would keep this process running.
if (process.connected) process.disconnect?.();
