import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { generatedFiles } from './files.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

for (const [path, text] of generatedFiles()) {
  const file = resolve(ROOT, path);
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
  mkdirSync(dirname(file), { recursive: true });
  // Atomic: a concurrent reader gets either version as a whole.
  const unfinished = `${file}.${process.pid}`;
  writeFileSync(unfinished, text);
  renameSync(unfinished, file);
  process.stdout.write(`${path}\n`);
}
