import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { openBrowser } from './chromium.ts';
import { AGGREGATOR, buildConsole, confirm, takeScreenshot, watchedTab } from './pages.ts';

const OPS_TOKEN = 'operator-of-the-browser-test';

let fleet: LocalFleet;
let browser: Browser;
let problems: string[] = [];

beforeAll(async () => {
  await buildConsole();
  [browser, fleet] = await Promise.all([openBrowser(), startDedicatedFleet({ OPS_TOKEN })]);
});
afterAll(async () => {
  await browser?.close();
  await fleet?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  problems = [];
});

const openTab = (context: BrowserContext): Promise<Page> => watchedTab(context, fleet.publicUrl, problems);
const getSession = async (page: Page, separate = false): Promise<void> => {
  if (separate) await page.getByLabel('Use a separate session in this tab').check();
  await page.getByRole('button', { name: /^Get a (new )?guest session$/ }).click();
  await page.locator('.gateway').waitFor();
};
const joinGroup = async (page: Page): Promise<void> => {
  await page.getByRole('button', { name: 'Join' }).click();
  await page.getByRole('heading', { name: 'Group lobby' }).waitFor();
  await page.getByPlaceholder('Write a message').waitFor();
};
const sendMessage = async (page: Page, text: string): Promise<void> => {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByLabel('Message', { exact: true }).press('Enter');
};
const gatewayOf = async (page: Page): Promise<string> => (await page.locator('.gateway').textContent()) ?? '';

test('[CO4] given two tabs on two gateways, each receives the messages of the other and names its gateway', async () => {
  const context = await browser.newContext();
  const one = await openTab(context);
  await one.getByText('All systems operational').waitFor({ timeout: 20_000 });
  await getSession(one);
  await joinGroup(one);
  const two = await openTab(context);
  await two.locator('.gateway').waitFor();
  await joinGroup(two);
  const names = fleet.describe().gateways.map(({ name }) => name);
  const [first, second] = [await gatewayOf(one), await gatewayOf(two)];
  expect(names).toContain(first);
  expect(names).toContain(second);
  // The load balancer sends a new socket to the gateway with the fewest.
  expect(first).not.toBe(second);

  await sendMessage(one, 'Hello from the first tab');
  await two.locator('.message', { hasText: 'Hello from the first tab' }).waitFor();
  await sendMessage(two, 'And hello back');
  const answer = one.locator('.message', { hasText: 'And hello back' });
  await answer.waitFor();
  expect(await answer.textContent()).toContain(`via ${second}`);
  await one.locator('.message.is-mine', { hasText: 'Hello from the first tab' }).waitFor();
  await takeScreenshot(one, 'chat');
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO5] [CO18] given two tabs with one session and one with another, sign-out closes the two, and the third stays connected', async () => {
  const context = await browser.newContext();
  const one = await openTab(context);
  await getSession(one);
  const two = await openTab(context);
  await two.locator('.gateway').waitFor();
  const own = await openTab(context);
  // This tab came up with the cookie of the browser and takes a session of its own.
  await own.getByRole('button', { name: 'Use a separate session in this tab' }).click();
  await own.getByText('token of this tab').waitFor();
  await own.locator('.gateway').waitFor();

  const begun = performance.now();
  await one.getByRole('button', { name: 'Sign out' }).click();
  for (const page of [one, two]) {
    await page.locator('[data-notice=signed-out]', { hasText: 'You were signed out' }).waitFor();
    expect(await page.locator('[data-notice=signed-out]').textContent()).toContain('4501');
  }
  expect(performance.now() - begun).toBeLessThan(5_000);
  await takeScreenshot(two, 'signed-out');
  expect(await own.locator('[data-notice=signed-out]').count()).toBe(0);
  await joinGroup(own);
  await sendMessage(own, 'Still here');
  await own.locator('.message', { hasText: 'Still here' }).waitFor();

  await getSession(two);
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO6] when a gateway is killed, the page shows it within 5 s', async () => {
  const context = await browser.newContext();
  const page = await openTab(context);
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  await takeScreenshot(page, 'all-present');
  const name = fleet.describe().gateways[0]?.name ?? '';
  const row = page.locator(`[data-instance="${name}"]`);
  await page.locator(`[data-instance="${name}"][data-state=up]`).waitFor();
  const halting = fleet.halt(name);
  fleet.kill(name, 'SIGKILL');
  await until(async () => (await row.getAttribute('data-state')) !== 'up', {
    what: 'the page to show the loss',
    timeoutMs: 5_000,
  });
  await page.locator(`[data-instance="${name}"][data-state=down]`).waitFor();
  await page.getByRole('heading', { name: 'Partial outage' }).waitFor();
  await takeScreenshot(page, 'missing');
  await halting;
  await fleet.resume(name);
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO19] given data older than 15 s, the page marks it as stale and shows nothing as operational', async () => {
  const context = await browser.newContext();
  const page = await openTab(context);
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  await fleet.halt(fleet.describe().healthAggregators[0]?.name ?? '');
  await page.getByText('Data is stale').waitFor({ timeout: 25_000 });
  await page.getByRole('alert').getByText('This page is out of date.').waitFor();
  expect(await page.locator('.tone-ok').count()).toBe(0);
  await takeScreenshot(page, 'stale');
  await fleet.resume(fleet.describe().healthAggregators[0]?.name ?? '');
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  await context.close();
});

test('[CO17] without scripts the page shows the status of the fleet and 90 days', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(fleet.publicUrl);
  await page.getByText(/^Fleet muster, as of \d{4}-/).waitFor();
  expect(await page.locator('.services .service').count()).toBe(3);
  await until(
    async () => {
      await page.reload();
      return (await page.locator('.uptime-days rect').count()) >= 90;
    },
    { what: 'ninety days', timeoutMs: 15_000, intervalMs: 500 },
  );
  await page.getByRole('link', { name: '/v1/fleet' }).waitFor();
  await takeScreenshot(page, 'without-scripts');
  await context.close();
});

test('[CO7] [CO21] on a narrow screen, dark or light, nothing overflows, and the keyboard reaches every control', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 360, height: 780 } });
    const page = await openTab(context);
    await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
    // A function of the page, where there is a document.
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
    const names: string[] = [];
    for (let step = 0; step < 12; step += 1) {
      await page.keyboard.press('Tab');
      names.push(String(await page.evaluate('document.activeElement?.textContent || document.activeElement?.name')));
    }
    expect(names).toEqual(expect.arrayContaining(['Health', 'JSON', 'API', 'Get a guest session', 'group']));
    await takeScreenshot(page, `narrow-${colorScheme}`);
    await context.close();
  }
  expect(problems).toEqual([]);
});

test('[CO8] [CO20] [CO24] an operator drains and resumes a gateway on the page; a wrong token is rejected with a message', async () => {
  const context = await browser.newContext();
  const page = await openTab(context);
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  const name = fleet.describe().gateways[0]?.name ?? '';
  const row = page.locator(`[data-instance="${name}"]`);
  const enter = async (token: string) => {
    await page.getByText('Operator sign-in', { exact: true }).click();
    await page.getByLabel('Operator token (OPS_TOKEN)').fill(token);
    await page.getByRole('button', { name: 'Sign in' }).click();
  };
  await enter('not-the-token-at-all');
  await row.getByRole('button', { name: 'Drain' }).click();
  await confirm(page, 'Drain');
  await page.getByText('The operator token is not valid.').waitFor();
  expect(problems.splice(0).filter((problem) => !problem.includes('401'))).toEqual([]);

  await enter(OPS_TOKEN);
  await row.getByRole('button', { name: 'Drain' }).click();
  await confirm(page, 'Drain');
  await page.locator(`[data-instance="${name}"][data-state=draining]`).waitFor({ timeout: 8_000 });
  await takeScreenshot(page, 'draining');
  await row.getByRole('button', { name: 'Resume' }).click();
  await page.locator(`[data-instance="${name}"][data-state=up]`).waitFor({ timeout: 8_000 });
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO9] the files of the status page are below 45 KB, compressed', () => {
  const folder = join(AGGREGATOR, 'dist/console');
  const page = readFileSync(join(folder, 'index.html'), 'utf8');
  const files = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.(?:js|css))"/g)].map(([, file]) => file ?? '');
  expect(files.length).toBeGreaterThanOrEqual(2);
  const bytes = files.reduce((sum, file) => sum + gzipSync(readFileSync(join(folder, file))).length, 0);
  expect(bytes).toBeLessThan(45_000);
});

test('[JO9] the page shows the result and the duration of the synthetic check', async () => {
  const context = await browser.newContext();
  const page = await openTab(context);
  await page.locator('[data-fact=synthetic-check]', { hasText: 'Passing' }).waitFor({ timeout: 25_000 });
  await takeScreenshot(page, 'journey');
  await context.close();
});

test('[CO10] [FH9] [FH26] given both stores down, the page shows the outage with its age, and nothing as operational', async () => {
  const context = await browser.newContext();
  const page = await openTab(context);
  await page.getByText('All systems operational').waitFor({ timeout: 30_000 });
  await fleet.halt('redis');
  await page.getByRole('heading', { name: 'Messages are not delivered' }).waitFor({ timeout: 10_000 });
  await page.locator('[data-impact=redis] time').waitFor();
  await takeScreenshot(page, 'no-redis');
  await fleet.halt('postgres');
  await page.locator('[data-fact=redis]', { hasText: 'Down' }).waitFor({ timeout: 10_000 });
  await page.locator('[data-fact=database]', { hasText: 'Down' }).waitFor({ timeout: 10_000 });
  const good = () =>
    page
      .locator('.tone-ok')
      .evaluateAll((glyphs) => glyphs.map((glyph) => glyph.closest('[data-fact], tr, article')?.textContent));
  await until(good, {
    ok: ({ length }) => length === 0,
    what: 'nothing to be good',
    // Data is stale after 15 s; the page must have been notified and updated.
    timeoutMs: 30_000,
  });
  expect(await page.locator('[data-state=down]').count()).toBe(0);
  await page.getByText(/registry unavailable/).waitFor();
  await page.getByText('Redis and Postgres are unavailable').waitFor();
  expect((await fetch(`${fleet.publicUrl}/health`)).status).toBe(503);
  await takeScreenshot(page, 'no-stores');
  await Promise.all([fleet.resume('redis'), fleet.resume('postgres')]);
  await page.getByText('All systems operational').waitFor({ timeout: 60_000 });
  await context.close();
}, 120_000);
