import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalFleet } from '@muster/fleet/fleet';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { until } from '@muster/testkit/wait';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { sdkClient, signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** The gateways that `count` new clients land on, one after the other. */
const landings = async (fleet: LocalFleet, count: number): Promise<string[]> => {
  const gateways: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const { credential } = await signInUser(fleet.describe(), `user-${index}`);
    const client = stack.use(await sdkClient(fleet.publicUrl, credential));
    gateways.push(client.gateway());
  }
  return gateways;
};
const untilUnready = (url: string) =>
  until(async () => (await fetch(`${url}/readyz`)).status, {
    ok: (status) => status === 503,
    what: `${url} to be unready`,
    timeoutMs: 20_000,
  });

test('[CH12] a gateway that is not ready keeps its connections and gets no new connections, unless none is ready', async () => {
  const redis = stack.use(await openDedicatedRedis());
  const one = stack.use(await openFaultProxy(redis.url, { only: /ws-gateway-1/ }));
  const all = stack.use(await openFaultProxy(one.url, { only: /ws-gateway/ }));
  // Under the strict policy a gateway without Redis is unready, and nothing else happens to it.
  const fleet = stack.use(await startDedicatedFleet({ REDIS_URL: all.url, READINESS_POLICY: 'strict' }));
  const [first, second] = fleet.describe().gateways;
  const { credential } = await signInUser(fleet.describe(), 'somebody');
  const clients = await Promise.all(
    Array.from({ length: 6 }, async () => stack.use(await sdkClient(fleet.publicUrl, credential))),
  );
  const kept = clients.filter((client) => client.gateway() === first?.name);
  expect(kept.length).toBeGreaterThan(0);

  await one.blackhole();
  await untilUnready(first?.url ?? '');
  // The load balancer learns of it by two failed checks.
  await until(() => landings(fleet, 6), {
    ok: (gateways) => gateways.every((name) => name === second?.name),
    what: 'new sockets on the other gateway only',
  });
  for (const { closes, client } of kept) expect([client.state, closes]).toEqual(['connected', []]);

  await all.blackhole();
  await untilUnready(second?.url ?? '');
  // The load balancer has noticed: a request that does not upgrade finds no gateway.
  await until(async () => (await fetch(`${fleet.publicUrl}/api/info`, { method: 'POST' })).status, {
    ok: (status) => status === 503,
    what: 'no gateway for requests',
  });
  const socket = new WebSocket(`${fleet.publicUrl.replace('http', 'ws')}/connection/websocket`);
  stack.defer(() => socket.terminate());
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    socket.once('error', reject);
  });
});

test('[CH13] a gateway that joins gets the new connections until it has as many as the others', async () => {
  const fleet = stack.use(await startDedicatedFleet());
  const [first, second] = fleet.describe().gateways;
  await fleet.halt(second?.name ?? '');
  expect(new Set(await landings(fleet, 10))).toEqual(new Set([first?.name]));
  await fleet.resume(second?.name ?? '');
  // Two good checks, then a fresh server is given its share slowly, over ten seconds.
  await sleep(12_000);
  const later = await landings(fleet, 8);
  expect(new Set(later)).toEqual(new Set([second?.name]));
  const last = await landings(fleet, 8);
  const onSecond = [...later, ...last].filter((name) => name === second?.name).length;
  expect(Math.abs(onSecond - 13)).toBeLessThanOrEqual(1);
});
