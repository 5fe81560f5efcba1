import { randomUUID } from 'node:crypto';
import { createRealtime } from '@muster/client/realtime';
import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import type { Centrifuge } from 'centrifuge';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { gatewaysMetric } from '../chaos/assert-delivery.ts';
import { type SdkClient, sdkClient, signInUser } from './clients.ts';
import { startDedicatedFleet } from './dedicated-fleet.ts';

const CLIENTS = 60;
const stack = new AsyncDisposableStack();
let fleet: LocalFleet;

beforeAll(async () => {
  // The load balancer raises the share of a new gateway over ten seconds.
  fleet = stack.use(await startDedicatedFleet({ REBALANCE_AFTER_MS: '1000', REBALANCE_SETTLE_MS: '11000' }, 3));
}, 60_000);
afterAll(() => stack.disposeAsync());

/** A client with every gateway that it was on and the publications that it has received. */
interface Observed {
  readonly gateways: readonly string[];
  readonly received: readonly unknown[];
}

const movingClient = async (token: string, group: string): Promise<Observed> => {
  const gateways: string[] = [];
  const received: unknown[] = [];
  const client: Centrifuge = stack.adopt(
    createRealtime({
      ...{ baseUrl: fleet.publicUrl, token, sdk: { websocket: WebSocket } },
      onMoved: ({ gateway }) => gateways.push(gateway),
    }),
    (one) => one.disconnect(),
  );
  client.on('connected', ({ data }) => gateways.push(data.gateway));
  const subscription = client.newSubscription(group);
  subscription.on('publication', ({ data }) => received.push(data));
  subscription.subscribe();
  client.connect();
  await subscription.ready(15_000);
  return { gateways, received };
};
const ordinaryClient = async (credential: { token: string }, group: string): Promise<Observed> => {
  const sdk: SdkClient = stack.use(await sdkClient(fleet.publicUrl, credential));
  const gateways = [sdk.gateway()];
  sdk.client.on('connected', ({ data }) => gateways.push(data.gateway));
  const { received } = await sdk.subscribe(group);
  return {
    gateways,
    get received() {
      return received.map(({ data }) => data);
    },
  };
};

test('[RX11] given clients on two gateways, when a third joins, then its share moves, each client once at most and without a loss', async () => {
  const cut = () => gatewaysMetric(fleet, 'gateway_disconnects_total{initiator="network",code="1006"}');
  const closedBefore = await cut();
  const third = fleet.describe().gateways[2]?.name ?? '';
  await fleet.halt(third);
  const group = `rebalance:${randomUUID()}`;
  const connectOne = async (index: number) => {
    const { credential } = await signInUser(fleet.describe(), `client-${index}`);
    if (!('token' in credential)) throw new Error('no token');
    return index % 2 ? movingClient(credential.token, group) : ordinaryClient(credential, group);
  };
  const clients: Observed[] = [];
  for (let from = 0; from < CLIENTS; from += 10) {
    clients.push(...(await Promise.all(Array.from({ length: 10 }, (_, n) => connectOne(from + n)))));
  }
  await fleet.resume(third);

  const connections = () => Map.groupBy(clients, ({ gateways }) => gateways.at(-1));
  const { publicUrl, serverApiKey } = fleet.describe();
  let published = 0;
  await until(
    async () => {
      published += 1;
      const init = { method: 'POST', headers: { 'x-api-key': serverApiKey } };
      await fetch(`${publicUrl}/api/publish`, { ...init, body: JSON.stringify({ channel: group, data: published }) });
      return Math.max(...[...connections().values()].map(({ length }) => length));
    },
    { ok: (most) => most <= (CLIENTS / 3) * 1.1, what: 'even gateways', timeoutMs: 90_000, intervalMs: 20 },
  );
  await until(() => clients.every(({ received }) => received.length >= published), {
    what: 'the last publication',
    timeoutMs: 15_000,
  });
  const all = Array.from({ length: published }, (_, index) => index + 1);
  for (const { received } of clients) expect(received).toEqual(all);
  expect(connections().size).toBe(3);
  const moved = clients.filter(({ gateways }) => gateways.length > 1);
  expect(moved.length).toBeLessThanOrEqual((CLIENTS / 3) * 1.2);
  expect(clients.filter(({ gateways }) => gateways.length > 2)).toEqual([]);
  expect(await cut()).toBe(closedBefore);
  expect(await gatewaysMetric(fleet, 'gateway_rebalanced_connections_total{result="late"}')).toBe(0);
}, 180_000);
