import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

const WATCH_PARENT_MS = 500;
const TAIL_LINES = 30;
const PROGRESS_MS = 5_000;
const LINE_LENGTH = 100;
const startedAt = performance.now();

/** Prints a line of progress with the time since the start. */
export const log = (line) => {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  process.stdout.write(`  ${seconds.padStart(5)} s  ${line}\n`);
};

/** Runs a program, prints its last line every 5 s, and rejects with the end of its output on failure. Resolves with the output. */
export const runQuietly = (what, command, args, { env = process.env, cwd = ROOT } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks = [];
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    const progress = setInterval(() => log(`${what} is running ${lastLineOf(chunks)}`.trimEnd()), PROGRESS_MS);
    child.once('error', (cause) => {
      clearInterval(progress);
      reject(new Error(`${what}: ${cause.message}`, { cause }));
    });
    child.once('close', (code) => {
      clearInterval(progress);
      const output = Buffer.concat(chunks).toString('utf8');
      if (code === 0) return resolve(output);
      const tail = output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
      reject(new Error(`${what} failed (exit code ${code}):\n${tail}`));
    });
  });

const lastLineOf = (chunks) => {
  const lines = Buffer.concat(chunks).toString('utf8').trimEnd().split('\n');
  const last = lines.at(-1)?.slice(0, LINE_LENGTH);
  return last ? `(${last})` : '';
};

/**
 * Runs a program in the foreground: same terminal, signals forwarded, resolves with its exit code. It shares the process
 * group, so Ctrl-C may reach it twice: it has to treat signals that arrive together as one.
 * With `channel` its IPC channel closes when this process ends, for any reason.
 */
export const runAttached = (command, args, { env = process.env, channel = false } = {}) =>
  new Promise((resolve, reject) => {
    const stdio = ['inherit', 'inherit', 'inherit', ...(channel ? ['ipc'] : [])];
    const child = spawn(command, args, { cwd: ROOT, env, stdio });
    const pass = (signal) => child.kill(signal);
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, pass);
    const watch = watchParent(() => child.kill('SIGTERM'));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearInterval(watch);
      for (const each of signals) process.off(each, pass);
      resolve(code ?? 128 + (constants.signals[signal] ?? 0));
    });
  });

/** npm runs this process in a shell that may not forward a signal; the end of the parent replaces it. */
const watchParent = (onGone) => {
  const parent = process.ppid;
  let isDone = false;
  const check = () => {
    if (isDone || process.env.npm_lifecycle_event === undefined || process.ppid === parent) return;
    isDone = true;
    onGone();
  };
  return setInterval(check, WATCH_PARENT_MS);
};
