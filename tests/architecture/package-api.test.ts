import { expect, test } from 'vitest';
import { apiReports, manifestNow, manifestOf, manifestPath, PUBLISHED, publicModules } from './package-api.ts';
import { isTest, read, sourceFiles } from './source-files.ts';
import { syntaxOf } from './syntax.ts';

test.each(PUBLISHED)('the exports of %s are the modules that other workspaces import', (name) => {
  expect(read(manifestPath(name)), 'run npm run generate').toBe(manifestNow(name));
  expect(Object.keys(manifestOf(name).exports).filter((key) => key.includes('*'))).toEqual([]);
});

test('published packages import only public modules of each other', () => {
  const isPublic = new Set(
    PUBLISHED.flatMap((name) => publicModules(name).map((module) => `@muster/${name}/${module}`)),
  );
  const internal = sourceFiles()
    .filter((file) => PUBLISHED.some((name) => file.startsWith(`packages/${name}/src/`)) && !isTest(file))
    .flatMap((file) => syntaxOf(file).imports.map(({ text }) => ({ file, text })))
    .filter(({ text }) => text.startsWith('@muster/') && !isPublic.has(text))
    .map(({ file, text }) => `${file} imports ${text}`);
  expect(internal).toEqual([]);
});

test('the API reports match the declarations', { timeout: 120_000 }, () => {
  for (const [path, report] of apiReports()) {
    expect(read(path), `${path}: review the change of the public API, then run npm run generate`).toBe(report);
  }
});

test('every published package requires the same version of Node', () => {
  const engines = PUBLISHED.map((name) => manifestOf(name).engines.node);
  expect(new Set(engines).size).toBe(1);
});
