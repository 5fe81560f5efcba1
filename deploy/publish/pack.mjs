// Turns the packages that others may install into tarballs of JavaScript with types.
// Usage: npm run pack [-- DIRECTORY]      default: .muster/packages
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';

const PACKAGES = ['protocol', 'telemetry', 'kit', 'session', 'client'];
const root = resolve(import.meta.dirname, '../..');
const destination = resolve(process.argv[2] ?? `${root}/.muster/packages`);
const run = (command, args, cwd = root) =>
  execFileSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });

mkdirSync(destination, { recursive: true });
rmSync(`${root}/.muster/publish`, { recursive: true, force: true });
run('pnpm', ['exec', 'tsc', '-p', 'tsconfig.publish.json']);
for (const name of PACKAGES) {
  const dist = `${root}/packages/${name}/dist`;
  rmSync(dist, { recursive: true, force: true });
  cpSync(`${root}/.muster/publish/${name}/src`, dist, { recursive: true });
  run('pnpm', ['pack', '--pack-destination', destination], `${root}/packages/${name}`);
  rmSync(dist, { recursive: true, force: true });
}
