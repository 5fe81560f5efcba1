// Packs the published packages as tarballs of JavaScript with type declarations.
// Usage: npm run pack [-- DIRECTORY]      default: .muster/packages
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';

/** Folders under `packages/` that are published, in the order of their dependencies. */
export const PACKAGES = ['protocol', 'telemetry', 'kit', 'session', 'client'];
const root = resolve(import.meta.dirname, '../..');
export const DESTINATION = resolve(process.argv[2] ?? `${root}/.muster/packages`);
const run = (command, args, cwd = root) =>
  execFileSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });

/** Writes one tarball per package into `DESTINATION`. */
export const packAll = () => {
  mkdirSync(DESTINATION, { recursive: true });
  rmSync(`${root}/.muster/publish`, { recursive: true, force: true });
  run('pnpm', ['exec', 'tsc', '-p', 'tsconfig.publish.json']);
  for (const name of PACKAGES) {
    const dist = `${root}/packages/${name}/dist`;
    rmSync(dist, { recursive: true, force: true });
    cpSync(`${root}/.muster/publish/${name}/src`, dist, { recursive: true });
    run('pnpm', ['pack', '--pack-destination', DESTINATION], `${root}/packages/${name}`);
    rmSync(dist, { recursive: true, force: true });
  }
};

if (import.meta.main) packAll();
