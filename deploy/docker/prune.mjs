// Removes files from installed packages that are not used at run time: types, source maps, documentation.
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const UNUSED = /\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|flow|tsbuildinfo)$|^(CHANGELOG|HISTORY)/i;
const KEPT = /licen[cs]e|notice|copying/i;

/** Visits real directories only; the targets of links are visited themselves. */
const prune = (directory) => {
  let bytes = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) bytes += prune(path);
    if (!entry.isFile() || !UNUSED.test(entry.name) || KEPT.test(entry.name)) continue;
    bytes += statSync(path).size;
    rmSync(path);
  }
  return bytes;
};

const [root] = process.argv.slice(2);
process.stdout.write(`pruned ${(prune(root) / 1_048_576).toFixed(1)} MiB\n`);
