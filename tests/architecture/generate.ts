import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOCUMENT, documentNow, withTable } from './ceilings-table.ts';
import { apiReports, manifestNow, manifestPath, PUBLISHED } from './package-api.ts';
import { ROOT, read } from './source-files.ts';

/** Writes a file whose content has changed, and prints its path. */
const update = (path: string, content: string): void => {
  if (existsSync(join(ROOT, path)) && read(path) === content) return;
  writeFileSync(join(ROOT, path), content);
  process.stdout.write(`${path}\n`);
};

update(DOCUMENT, withTable(documentNow()));
for (const name of PUBLISHED) update(manifestPath(name), manifestNow(name));
for (const [path, report] of apiReports()) update(path, report);
