import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import axe from 'axe-core';
import type { BrowserContext, Page } from 'playwright-core';

/** Directory of the aggregator with the built console. */
export const AGGREGATOR = fileURLToPath(new URL('../../services/health-aggregator', import.meta.url));
/** Directory for screenshots of the tests. */
const SCREENSHOTS = process.env['MUSTER_SCREENSHOTS'];

const changedAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Builds the console when it is missing or older than a source file. Each process builds in a directory of its own. */
export const buildConsole = async (): Promise<void> => {
  const built = join(AGGREGATOR, 'dist/console');
  const sources = readdirSync(join(AGGREGATOR, 'src'), { recursive: true, encoding: 'utf8' });
  const isOlder = (source: string) => changedAt(join(built, 'index.html')) < changedAt(join(AGGREGATOR, 'src', source));
  const isStale = () => sources.some(isOlder);
  if (!isStale()) return;
  const vite = join(AGGREGATOR, 'node_modules/vite/bin/vite.js');
  const own = join(AGGREGATOR, `dist/console-${process.pid}`);
  await promisify(execFile)(process.execPath, [vite, 'build', '--outDir', own], { cwd: AGGREGATOR });
  // Another test file may have put its build there meanwhile; both builds are alike.
  if (isStale()) {
    await rm(built, { recursive: true, force: true });
    await rename(own, built).catch(() => {});
  }
  await rm(own, { recursive: true, force: true });
};

/** A tab whose console errors, exceptions and requests to other origins are noted in `problems`. */
export const watchedTab = async (context: BrowserContext, url: string, problems: string[]): Promise<Page> => {
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => {
    const asked = new URL(request.url());
    if (asked.protocol.startsWith('http') && asked.origin !== new URL(url).origin)
      problems.push(`foreign ${asked.origin}`);
  });
  await page.goto(url);
  return page;
};

/** Saves a screenshot of the whole page to `MUSTER_SCREENSHOTS`. */
export const takeScreenshot = async (page: Page, name: string): Promise<void> => {
  if (SCREENSHOTS === undefined) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
};

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly target: readonly string[]; readonly failureSummary: string }[];
}

/** Serious and critical findings of axe-core, one line each with rule and element. */
export const seriousIssues = async (page: Page): Promise<string[]> => {
  await page.evaluate(axe.source);
  const violations = (await page.evaluate(
    "axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations)",
  )) as Violation[];
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`));
};

/** Enters a reason and confirms the dialog of a button. */
export const confirm = async (page: Page, action: string, reason = 'a test'): Promise<void> => {
  const dialog = page.locator('dialog[open]');
  await dialog.getByLabel('Reason (written to the log)').fill(reason);
  await dialog.getByRole('button', { name: `${action} now` }).click();
};
