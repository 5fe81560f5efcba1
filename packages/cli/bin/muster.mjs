#!/usr/bin/env node
// Node 24 and newer run our TypeScript as it is. An older one hands over to the Node that `npm start` has brought.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// What the runtime thinks of the libraries inside is nothing that whoever types a command can change.
process.removeAllListeners('warning');

const OLDEST_NODE = 24;
const main = new URL('../src/main.ts', import.meta.url);

if (Number(process.versions.node.split('.')[0]) >= OLDEST_NODE) await import(main.href);
else {
  const own = fileURLToPath(new URL('../../../.muster/toolchain/node_modules/.bin/node', import.meta.url));
  if (!existsSync(own)) {
    process.stderr.write(`muster needs Node ${OLDEST_NODE} or newer; \`npm run setup\` brings one\n`);
    process.exit(1);
  }
  const { status } = spawnSync(own, [fileURLToPath(main), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exit(status ?? 1);
}
