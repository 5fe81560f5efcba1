import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOCUMENT, documentNow, withTable } from './ceilings-table.ts';
import { ROOT } from './source-files.ts';

const now = documentNow();
const next = withTable(now);
if (next !== now) {
  writeFileSync(join(ROOT, DOCUMENT), next);
  process.stdout.write(`${DOCUMENT}\n`);
}
