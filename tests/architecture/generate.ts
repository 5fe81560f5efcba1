import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiReports, manifestNow, manifestPath, PUBLISHED } from './package-api.ts';
import { ROOT, read } from './source-files.ts';

/** Writes a file whose content has changed, and prints its path. */
const update = (path: string, content: string): void => {
  if (existsSync(join(ROOT, path)) && read(path) === content) return;
  writeFileSync(join(ROOT, path), content);
  process.stdout.write(`${path}\n`);
};

// Before the imports below: a module that is new in a package can be imported once its manifest lists it.
for (const name of PUBLISHED) update(manifestPath(name), manifestNow(name));

const { DOCUMENT, documentNow, withTable } = await import('./ceilings-table.ts');
const { SETTINGS_DOCUMENTS, withSettingsTable } = await import('./settings-table.ts');
update(DOCUMENT, withTable(documentNow()));
for (const [path, settings] of SETTINGS_DOCUMENTS) update(path, withSettingsTable(read(path), settings));
for (const [path, report] of apiReports()) update(path, report);
