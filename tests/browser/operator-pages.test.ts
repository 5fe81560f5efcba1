import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { openBrowser } from './chromium.ts';
import { buildConsole, confirm, seriousIssues, takeScreenshot, watchedTab } from './pages.ts';

const GROUP = 'chat:one/two';

let fleet: LocalFleet;
let browser: Browser;
let token = '';
let problems: string[] = [];

beforeAll(async () => {
  await buildConsole();
  [browser, fleet] = await Promise.all([openBrowser(), startDedicatedFleet()]);
  token = fleet.describe().opsToken;
  // Keys are in use as soon as the aggregator has seen every instance.
  await until(async () => (await fetch(`${fleet.publicUrl}/health`)).ok, {
    what: 'the fleet to be healthy',
    timeoutMs: 30_000,
  });
});
afterAll(async () => {
  await browser?.close();
  await fleet?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  problems = [];
});

interface Asked {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  readonly body: any;
}
const ask = async (path: string, init: RequestInit = {}, key = token): Promise<Asked> => {
  const headers = {
    authorization: `Bearer ${key}`,
    ...(init.body ? { 'content-type': 'application/json' } : {}),
  };
  const response = await fetch(`${fleet.publicUrl}${path}`, { ...init, headers });
  return { status: response.status, body: await response.json() };
};

/** A user who is signed in and connected, in these groups. */
interface Person extends AsyncDisposable {
  readonly session: string;
  readonly client: Centrifuge;
  readonly heard: unknown[];
  /** The code with which the gateway ended the connection. */
  readonly ended: Promise<number>;
}
const connectAs = async (
  user: string | undefined,
  group = GROUP,
  label?: string,
  tenant = 'default',
): Promise<Person> => {
  const response = await fetch(`${fleet.publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${fleet.describe().serviceApiKey}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ user_id: user, label, tenant }),
  });
  const { id, token: own } = (await response.json()) as { id: string; token: string };
  const client = new Centrifuge(`${fleet.publicUrl.replace('http', 'ws')}/connection/websocket`, {
    token: own,
    websocket: WebSocket,
  });
  const heard: unknown[] = [];
  const subscription = client.newSubscription(group);
  subscription.on('publication', ({ data }) => void heard.push(data));
  const ended = new Promise<number>((resolve) => client.on('disconnected', ({ code }) => resolve(code)));
  subscription.subscribe();
  client.connect();
  await subscription.ready(30_000);
  return { session: id, client, heard, ended, [Symbol.asyncDispose]: async () => client.disconnect() };
};

const openDesk = async (context: BrowserContext, hash: string, withToken = true): Promise<Page> => {
  if (withToken) await context.addInitScript(`sessionStorage.setItem('muster.ops', ${JSON.stringify(token)})`);
  return watchedTab(context, `${fleet.publicUrl}/${hash}`, problems);
};

test('[OD1] without the operator token every request is rejected before its input is validated', async () => {
  for (const path of ['sessions', 'sessions?find=ann', 'groups', 'groups/lobby']) {
    expect((await ask(`/v1/operator/${path}`, {}, 'not-the-operator-token')).status).toBe(401);
  }
  const wrong = [
    ask('/v1/operator/sessions/x', { method: 'DELETE' }, 'wrong'),
    ask('/v1/operator/groups/lobby/publications', { method: 'POST', body: '[' }, 'wrong'),
    ask('/v1/operator/groups/lobby/tail', { method: 'POST' }, 'wrong'),
  ];
  for (const { status } of await Promise.all(wrong)) expect(status).toBe(401);
});

test('[OD2] [OD10] sessions are found by user, guest name and id, with their connections on every gateway', async () => {
  await using one = await connectAs('ann', GROUP, 'Laptop');
  await using two = await connectAs('ann', 'other');
  await using guest = await connectAs(undefined);
  const { status, body } = await ask('/v1/operator/sessions?find=ann');
  expect(status).toBe(200);
  expect(body.gateways).toBe(2);
  expect(body.others).toEqual([]);
  const laptop = body.items.find(({ id }: { id: string }) => id === one.session);
  expect(laptop).toMatchObject({ user: 'ann', label: 'Laptop', endedAt: null });
  expect(laptop.sockets).toMatchObject([{ session: one.session, groups: [GROUP], lagBytes: 0 }]);
  const gateways = body.items.flatMap(({ sockets }: { sockets: { gateway: string }[] }) => sockets);
  // The load balancer sends a new socket to the gateway with the fewest.
  expect(new Set(gateways.map(({ gateway }: { gateway: string }) => gateway)).size).toBe(2);

  const byId = await ask(`/v1/operator/sessions?find=${two.session}`);
  expect(byId.body.items).toMatchObject([{ id: two.session, sockets: [{ groups: ['other'] }] }]);
  const name = `guest:${guest.session.slice(0, 8)}`;
  const found = await ask(`/v1/operator/sessions?find=${name}`);
  expect(found.body.items).toMatchObject([{ id: guest.session, user: null, sockets: [{ user: name }] }]);
  const newest = await ask('/v1/operator/sessions');
  expect(newest.body.items.length).toBeGreaterThanOrEqual(3);
  expect((await ask('/v1/operator/sessions?find=nobody-of-this-name')).body.items).toEqual([]);
});

test('[OD3] [OD12] [OD13] [OD14] [OD15] [OD16] an operator publishes to a group and tails it; invalid names and bodies are rejected', async () => {
  await using member = await connectAs('bob');
  const name = encodeURIComponent(GROUP);
  const grant = await ask(`/v1/operator/groups/${name}/tail`, { method: 'POST' });
  expect(grant).toMatchObject({ status: 201, body: { url: '/connection/websocket' } });
  const tail = new Centrifuge(new URL(grant.body.url, fleet.publicUrl.replace('http', 'ws')).href, {
    token: grant.body.token,
    websocket: WebSocket,
  });
  const received: unknown[] = [];
  tail.on('publication', ({ data }) => void received.push(data));
  tail.connect();
  await tail.ready(10_000);

  const sent = await ask(`/v1/operator/groups/${name}/publications`, {
    method: 'POST',
    body: JSON.stringify({ data: { text: 'from an operator' } }),
  });
  expect(sent).toMatchObject({ status: 201, body: { position: { offset: expect.any(Number) } } });
  await until(() => received.length === 1, { what: 'the tail to receive it', timeoutMs: 10_000 });
  expect(received).toEqual([{ text: 'from an operator' }]);
  await until(() => member.heard.length === 1, { what: 'the member to hear it', timeoutMs: 10_000 });
  const facts = await ask(`/v1/operator/groups/${name}`);
  expect(facts.body).toMatchObject({ group: GROUP, position: sent.body.position, more: false });
  expect(facts.body.sockets.map(({ user }: { user: string }) => user)).toContain('bob');
  const list = await ask(`/v1/operator/groups?pattern=${encodeURIComponent('one/t')}`);
  expect(list.body).toMatchObject({ total: 1, items: [{ group: GROUP }] });
  // A tail creates no session, not even while it is open.
  expect((await ask('/v1/operator/sessions?find=muster-console')).body.items).toEqual([]);
  tail.disconnect();

  const tooLong = 'x'.repeat(300);
  expect((await ask(`/v1/operator/groups/${tooLong}`)).status).toBe(422);
  expect((await ask(`/v1/operator/groups/${tooLong}/tail`, { method: 'POST' })).status).toBe(422);
  const empty = { method: 'POST', body: '{}' };
  expect((await ask(`/v1/operator/groups/${name}/publications`, empty)).status).toBe(422);
});

test('[CO11] [CO24] when a device is signed out on the page, its connections close and the page shows it; the other device stays', async () => {
  await using phone = await connectAs('carol', GROUP, 'Phone');
  await using desktop = await connectAs('carol', GROUP, 'Desktop');
  const context = await browser.newContext();
  const page = await openDesk(context, '#sessions/carol');
  await page.locator('.device').nth(1).waitFor();
  expect(await page.locator('.device [data-client]').count()).toBe(2);
  await takeScreenshot(page, 'sessions');

  await page.getByRole('button', { name: 'Sign out Phone' }).click();
  // Nothing happens without a reason, and Escape takes it back.
  await page.keyboard.press('Escape');
  expect(phone.client.state).toBe('connected');
  await page.getByRole('button', { name: 'Sign out Phone' }).click();
  await takeScreenshot(page, 'sessions-confirm');
  await confirm(page, 'Sign out', 'lost phone');
  expect(await phone.ended).toBe(4501);
  const card = page.locator(`[data-session="${phone.session}"]`);
  await card.getByText(/Signed out\. 1 connection closed within/).waitFor({ timeout: 15_000 });
  await until(() => card.locator('[data-client]').count(), {
    ok: (count) => count === 0,
    what: 'the socket to leave the page',
  });
  await takeScreenshot(page, 'sessions-signed-out');
  expect(await seriousIssues(page)).toEqual([]);
  expect(desktop.client.state).toBe('connected');
  await page.getByLabel('User, guest or session').fill(desktop.session);
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByText('1 device, 1 open connection.').waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO12] the page of a group shows members by gateway, the rate and a live tail, and publishes', async () => {
  await using one = await connectAs('dora');
  await using two = await connectAs('emil');
  const context = await browser.newContext();
  const page = await openDesk(context, '#groups');
  await page.getByRole('link', { name: GROUP }).click();
  await page.getByRole('heading', { name: GROUP }).waitFor();
  await until(() => page.locator('[data-gateway]').count(), {
    ok: (count) => count === 2,
    what: 'two gateways',
  });
  await page.getByRole('button', { name: 'Start' }).click();
  await page.locator('[data-tail=on]').waitFor({ timeout: 10_000 });
  await page.getByLabel(/^Publish:/).fill('{"text":"hello from the page"}');
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.locator('.tail-line', { hasText: 'hello from the page' }).waitFor();
  await page.getByText(/^Published at offset \d+\.$/).waitFor();
  for (const { heard } of [one, two]) {
    await until(() => heard.length > 0, { what: 'everybody to hear it' });
    expect(heard).toEqual([{ text: 'hello from the page' }]);
  }
  await one.client.getSubscription(GROUP)?.publish({ text: 'and from a member' });
  await page.locator('.tail-line', { hasText: 'and from a member' }).waitFor();
  await page.locator('[data-fact=rate]', { hasText: '/s' }).waitFor({ timeout: 10_000 });
  await takeScreenshot(page, 'group');
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByRole('link', { name: 'All groups' }).click();
  await page.locator('.group-list').waitFor();
  await takeScreenshot(page, 'groups');
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO15] given a tenant, both pages show its users, groups, publications and tail, in links too', async () => {
  const group = 'tenants:lobby';
  await using ours = await connectAs('kim', group, 'Ours');
  await using theirs = await connectAs('kim', group, 'Theirs', 'shop');
  const context = await browser.newContext();
  const page = await openDesk(context, '#sessions/kim');
  await page.locator('.device', { hasText: 'Ours' }).waitFor();
  await page.getByLabel('Tenant').fill('shop');
  await page.getByRole('button', { name: 'Find' }).click();
  await page.locator('.device', { hasText: 'Theirs' }).waitFor();
  expect(await page.locator('.device h2').allTextContents()).toEqual(['Theirs']);
  await page.locator('[data-client]').waitFor();
  await takeScreenshot(page, 'sessions-tenant');
  expect(await seriousIssues(page)).toEqual([]);
  await page.getByRole('link', { name: group }).click();
  await page.getByRole('heading', { name: `${group} (shop)` }).waitFor();
  await page.getByRole('button', { name: 'Start' }).click();
  await page.locator('[data-tail=on]').waitFor({ timeout: 10_000 });
  await ours.client.getSubscription(group)?.publish('said in default');
  await page.getByLabel(/^Publish:/).fill('said in shop');
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.locator('.tail-line', { hasText: 'said in shop' }).waitFor();
  await until(() => theirs.heard.length > 0, { what: 'the tenant to hear it' });
  expect([theirs.heard, ours.heard]).toEqual([['said in shop'], ['said in default']]);
  expect(await page.locator('.tail-line').allTextContents()).toHaveLength(1);
  await takeScreenshot(page, 'group-tenant');
  await page.getByRole('link', { name: 'All groups' }).click();
  await page.getByLabel('Tenant (* for all)').fill('*');
  await page.getByLabel(/^Part of the name/).fill('tenants:');
  await page.getByText('2 groups have members.').waitFor();
  const names = await page.locator('.group-list a').allTextContents();
  // The tail has left its group or is about to leave, so the order of the groups may vary.
  expect(names.toSorted()).toEqual([group, `${group} (shop)`]);
  await takeScreenshot(page, 'groups-tenants');
  expect(await seriousIssues(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO13] without a token the operator pages require it, and a wrong token is rejected with a message', async () => {
  const context = await browser.newContext();
  const page = await openDesk(context, '#groups', false);
  await page.getByText('This page requires the operator token').waitFor();
  await takeScreenshot(page, 'gate');
  expect(await seriousIssues(page)).toEqual([]);
  await page.getByLabel('Operator token (OPS_TOKEN)').fill('not-the-operator-token');
  await page.keyboard.press('Enter');
  await page.getByText('The operator token is not valid.').waitFor();
  expect(problems.splice(0).filter((problem) => !problem.includes('401'))).toEqual([]);
  await page.getByLabel('Operator token (OPS_TOKEN)').fill(token);
  await page.keyboard.press('Enter');
  await page.getByText(/members\.$/).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('[CO7] [CO23] every page fits 360 px, light and dark, and axe-core reports nothing serious', async () => {
  await using person = await connectAs(
    'a-user-with-a-name-that-is-quite-long@example.com',
    `${GROUP}-${'x'.repeat(80)}`,
  );
  for (const colorScheme of ['light', 'dark'] as const) {
    const context = await browser.newContext({
      ...{ colorScheme, reducedMotion: 'reduce', viewport: { width: 360, height: 780 } },
    });
    await context.addInitScript(`sessionStorage.setItem('muster.ops', ${JSON.stringify(token)})`);
    const page = await watchedTab(context, fleet.publicUrl, problems);
    const places = [
      ['', '.services .service'],
      [`#sessions/${person.session}`, '.device [data-client]'],
      ['#groups', '.group-list li'],
      [`#groups/${encodeURIComponent(`${GROUP}-${'x'.repeat(80)}`)}`, '.members [data-client]'],
    ] as const;
    for (const [index, [hash, sight]] of places.entries()) {
      await page.goto(`${fleet.publicUrl}/${hash}`);
      await page.locator(sight).first().waitFor();
      expect(`${hash} ${await page.evaluate('document.documentElement.scrollWidth')}`).toBe(`${hash} 360`);
      await takeScreenshot(page, `narrow-${colorScheme}-${index}`);
      expect(await seriousIssues(page)).toEqual([]);
      await page.setViewportSize({ width: 1_180, height: 860 });
      await takeScreenshot(page, `wide-${colorScheme}-${index}`);
      await page.setViewportSize({ width: 360, height: 780 });
    }
    await context.close();
  }
  expect(problems).toEqual([]);
}, 120_000);

test('[CO14] while the pointer is in the list, no device changes its position', async () => {
  await using _one = await connectAs('gina', GROUP, 'First');
  const context = await browser.newContext();
  const page = await openDesk(context, '#sessions');
  const labels = () => page.locator('.device h2').allTextContents();
  await page.locator('.device', { hasText: 'First' }).waitFor();
  expect((await labels())[0]).toBe('First');
  await page.locator('.device', { hasText: 'First' }).hover();
  await using _two = await connectAs('gina', GROUP, 'Second');
  await page.locator('.device', { hasText: 'Second' }).waitFor({ timeout: 10_000 });
  expect((await labels()).indexOf('First')).toBeLessThan((await labels()).indexOf('Second'));
  await page.mouse.move(0, 0);
  await until(async () => (await labels())[0], {
    ok: (first) => first === 'Second',
    what: 'the newest first',
  });
  await context.close();
});

test('[OD4] [OD24] given a gateway that hangs, its connections are unknown, on the page too', async () => {
  await using person = await connectAs('hana', GROUP, 'Tablet');
  const at = await ask('/v1/operator/sessions?find=hana');
  const gateway: string = at.body.items[0].sockets[0].gateway;
  expect(at.body.silent).toEqual([]);
  fleet.kill(gateway, 'SIGSTOP');
  try {
    const { body } = await until(() => ask('/v1/operator/sessions?find=hana'), {
      ok: ({ status, body: { silent } }) => status === 200 && silent?.includes(gateway) === true,
      what: 'it to be named',
      timeoutMs: 15_000,
    });
    expect(body.items.map(({ id, sockets }: { id: string; sockets: unknown }) => [id, sockets])).toEqual([
      [person.session, null],
    ]);
    expect((await ask('/v1/operator/groups')).body.silent).toEqual([gateway]);
    const context = await browser.newContext();
    const page = await openDesk(context, '#sessions/hana');
    await page.getByText('1 device, connections unknown.').waitFor({ timeout: 15_000 });
    await page.getByText(`${gateway} did not respond. Connections there are unknown, not zero.`).waitFor();
    await takeScreenshot(page, 'sessions-silent');
    await context.close();
  } finally {
    fleet.kill(gateway, 'SIGCONT');
  }
});

test('[OD11] [OD25] without Redis the connections of all gateways are unknown, and nothing is shown as zero', async () => {
  await using _person = await connectAs('ivan', GROUP, 'Watch');
  const context = await browser.newContext();
  const page = await openDesk(context, '#sessions/ivan');
  await page.getByText('1 device, 1 open connection.').waitFor({ timeout: 15_000 });
  await fleet.halt('redis');
  await page.getByText('1 device, connections unknown.').waitFor({ timeout: 15_000 });
  const { body } = await ask('/v1/operator/sessions?find=ivan');
  expect([body.items[0].sockets, body.gateways, body.silent]).toEqual([null, null, null]);
  expect((await ask('/v1/operator/groups')).status).toBe(503);
  await takeScreenshot(page, 'sessions-no-redis');
  await fleet.resume('redis');
  await context.close();
});
