#!/usr/bin/env node
// Node 24 and newer run TypeScript directly. An older version hands over to the Node that `npm run setup` installs.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

// Warnings of the runtime about libraries do not concern the user of a command.
process.removeAllListeners('warning');

const OLDEST_NODE = 24;
const PARENT_CHECK_MS = 250;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const main = new URL('../src/main.ts', import.meta.url);

/** npx starts a shell that may not forward signals: the exit of the parent process is watched instead. */
const watchParent = (onGone) => {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, PARENT_CHECK_MS);
};

/** Runs the command with another Node: same terminal, signals forwarded, same exit code. */
const handOver = (node) => {
  const args = ['--no-warnings', fileURLToPath(main), ...process.argv.slice(2)];
  // The IPC channel closes when this process exits for any reason.
  const child = spawn(node, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  if (process.env.npm_command === 'exec') watchParent(() => child.kill('SIGTERM'));
  child.once('error', ({ message }) => {
    process.stderr.write(`muster: cannot run ${node}: ${message}\n`);
    process.exit(1);
  });
  child.once('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
};

if (Number(process.versions.node.split('.')[0]) >= OLDEST_NODE) await import(main.href);
else {
  const own = fileURLToPath(new URL('../../../.muster/toolchain/node_modules/.bin/node', import.meta.url));
  if (!existsSync(own)) {
    process.stderr.write(`muster needs Node ${OLDEST_NODE} or newer; \`npm run setup\` brings one\n`);
    process.exit(1);
  }
  handOver(own);
}
