import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import type { Centrifuge, Subscription } from 'centrifuge';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { connected, SERVER_KEY, sdk, startGateway, type TestGateway, webSocketWith } from './fixture.ts';

const stores = useTestStores({ migrate });
const PERMISSIONS = {
  allow_subscribe_for_client: true,
  allow_publish_for_client: true,
  allow_history_for_subscriber: true,
  allow_presence_for_subscriber: true,
};
const GROUPS = {
  without_namespace: PERMISSIONS,
  namespaces: [
    { name: 'patient', slow_policy: 'lag' },
    { name: 'cached', recovery_mode: 'cache' },
    { name: 'brief', history_ttl: '1s' },
  ].map((one) => ({ ...one, ...PERMISSIONS })),
};
const LARGE = 'x'.repeat(60_000);

let sessions: TestService;
let gateways: readonly [TestGateway, TestGateway];
let token: string;

beforeAll(async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'muster-groups-')), 'groups.json');
  writeFileSync(file, JSON.stringify(GROUPS));
  sessions = await startService(stores);
  const start = (name: string) => startGateway(stores, sessions.opsUrl, { GROUPS_FILE: file, INSTANCE_NAME: name });
  gateways = await Promise.all([start('gw-1'), start('gw-2')]);
  const account = { user_id: 'u_sizes', transport: 'bearer' };
  token = (await sessions.service('POST', '/v1/sessions', account)).body.token;
});
afterAll(async () => {
  for (const one of [...gateways, sessions]) await one[Symbol.asyncDispose]();
});

const call = async (method: string, params: object, headers: Record<string, string> = {}) => {
  const answer = await fetch(`${gateways[0].url}/api/${method}`, {
    method: 'POST',
    headers: { 'x-api-key': SERVER_KEY, ...headers },
    body: JSON.stringify(params),
  });
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  return { status: answer.status, body: (await answer.json()) as any };
};
const publish = async (channel: string, count: number, data: unknown = LARGE): Promise<void> => {
  const commands = Array.from({ length: count }, () => ({ publish: { channel, data } }));
  for (const reply of (await call('batch', { commands })).body.replies) expect(reply).toHaveProperty('publish');
};

interface Listener {
  readonly client: Centrifuge;
  readonly subscription: Subscription;
  readonly received: unknown[];
  /** Codes with which the server has ended a connection of it. */
  readonly closes: number[];
  readonly recovered: boolean[];
}

/** A client of the SDK with its own pauses. */
const listener = async (group: string, gateway = gateways[0]): Promise<Listener> => {
  const client = sdk(gateway, { token });
  const subscription = client.newSubscription(group);
  const one: Listener = { client, subscription, received: [], closes: [], recovered: [] };
  client.on('connecting', ({ code }) => code >= 3_000 && one.closes.push(code));
  subscription.on('publication', ({ data }) => one.received.push(data));
  subscription.on('subscribed', ({ recovered }) => one.recovered.push(recovered));
  subscription.subscribe();
  await connected(client);
  await subscription.ready(5_000);
  return one;
};

/** It is away while something happens, and within how many ms it is subscribed again. */
const away = async ({ client, subscription }: Listener, meanwhile: () => Promise<void>): Promise<number> => {
  client.disconnect();
  await meanwhile();
  const startedAt = performance.now();
  client.connect();
  await subscription.ready(15_000);
  return performance.now() - startedAt;
};

test.each([
  ['big', 20, false],
  ['modest', 8, true],
  ['patient:1', 30, false],
  ['cached:1', 25, true],
] as const)(
  '[SW9] given the group %s with %d large missed publications, when the SDK reconnects, then it is subscribed, not closed, and informed of gaps',
  async (group, count, isRecovered) => {
    const one = await listener(group);
    await publish(group, 1, 'first');
    await until(() => one.received.length === 1, { what: 'the first' });
    const tookMs = await away(one, () => publish(group, count));
    expect(tookMs).toBeLessThan(3_000);
    expect(one.recovered.at(-1)).toBe(isRecovered);
    const kept = group === 'cached:1' ? 1 : count;
    await until(() => one.received.length === 1 + (isRecovered ? kept : 0), { what: 'what was missed' });
    await publish(group, 1, 'last');
    await until(() => one.received.at(-1) === 'last', { what: 'the last' });
    const { publications, offset } = await one.subscription.history({ limit: -1 });
    expect(offset).toBe(count + 2);
    const bytes = publications.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0);
    expect(bytes).toBeLessThanOrEqual(1_048_576);
    expect(publications.length).toBeGreaterThan(Math.min(count, 15));
    expect(one.closes).toEqual([]);
    one.client.disconnect();
  },
);

test('[SZ1] [SZ2] [SZ3] [SZ4] given a publication above the limit and the largest permitted, when back ends publish, then the first is rejected and all receive the second', async () => {
  const members = await Promise.all([listener('size'), listener('size', gateways[1]), listener('size')]);
  const tooLarge = { channel: 'size', data: 'x'.repeat(1_200_000) };
  expect((await call('publish', tooLarge)).body.error).toMatchObject({
    code: 107,
    message: expect.stringContaining('MAX_PUBLICATION_BYTES'),
  });
  const asStatus = await call('publish', tooLarge, { 'x-centrifugo-error-mode': 'transport' });
  expect(asStatus.status).toBe(413);
  expect(await gateways[0].metric('gateway_refusals_total{reason="too_large"}')).toBe(2);
  for (let burst = 0; burst < 3; burst++) await publish('size', 4, 'x'.repeat(262_000));
  await until(() => members.every(({ received }) => received.length === 12), {
    what: 'all',
    timeoutMs: 20_000,
  });
  for (const { client, closes } of members) {
    expect(closes).toEqual([]);
    client.disconnect();
  }
});

test('[SW9] given large publications, when a plain client reads them, then it stays open', async () => {
  const PlainSocket = webSocketWith({ authorization: `Bearer ${token}` }) as typeof WebSocket;
  const socket = new PlainSocket(`${gateways[0].wsUrl}/ws?group=plain`);
  const received: number[] = [];
  const closed: number[] = [];
  socket.addEventListener('message', ({ data }) => received.push(data.length));
  socket.addEventListener('close', ({ code }) => closed.push(code));
  await new Promise((resolve) => socket.addEventListener('open', resolve));
  // The client is in its group when it receives the first.
  await until(
    async () => {
      await publish('plain', 1, 'hello');
      return received.length > 0;
    },
    { what: 'a first publication' },
  );
  for (let burst = 0; burst < 3; burst++) await publish('plain', 10);
  const large = () => received.filter((length) => length === LARGE.length).length;
  await until(() => large() === 30, { what: 'all of them', timeoutMs: 20_000 });
  expect(closed).toEqual([]);
  socket.close();
});

test('[RC7] [RC15] given removed or expired publications, when an SDK reconnects to either gateway, then it does not receive them', async () => {
  for (const [group, forget] of [
    ['removed', async () => void (await call('history_remove', { channel: 'removed' }))],
    ['brief:1', () => new Promise<void>((resolve) => void setTimeout(resolve, 1_050))],
  ] as const) {
    // Members that stay, so that the gateways keep the group in memory.
    const stay = [await listener(group), await listener(group, gateways[1])];
    for (const gateway of gateways) {
      const one = await listener(group, gateway);
      await away(one, async () => {
        const before = stay.map(({ received }) => received.length);
        await publish(group, 3, 'secret');
        await until(() => stay.every(({ received }, at) => received.length === (before[at] ?? 0) + 3), {
          what: 'those who stay',
        });
        await forget();
      });
      expect(one.recovered.at(-1)).toBe(false);
      expect(one.received).toEqual([]);
      one.client.disconnect();
    }
    for (const { client } of stay) client.disconnect();
  }
});
