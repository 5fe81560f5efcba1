import type { GroupKey } from '@muster/bus/group-key';
import { groupKeys } from '@muster/bus/redis-keys';
import type { LocalFleet } from '@muster/fleet/fleet';
import { slotOf } from '@muster/kit/redis/cluster';
import { type DedicatedRedisCluster, openDedicatedRedisCluster } from '@muster/testkit/dedicated-redis-cluster';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { endOwnSession, onDifferentGateways, sdkClient, signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { type DeliveryWorkload, startDeliveryWorkload } from '../cluster/delivery-workload.ts';
import { assertDelivery, disconnectedClients, FLAWLESS, pause } from './assert-delivery.ts';

/** A real cluster of three nodes and a spare one under the whole fleet. */
const SIZE = { subscribers: 200, groups: 6, publicationsPerSecond: 50 };
const PREFIX = 'muster:';
const PRIMARIES = 3;
/** The slots of what all replicas share: session changes, the registry with the aggregators' lead, questions to all. */
const SHARED = [`${PREFIX}{bus}log`, `${PREFIX}fleet:{muster}:index`, `${PREFIX}control`];

let redis: DedicatedRedisCluster;
let fleet: LocalFleet;
let workload: DeliveryWorkload | undefined;

beforeAll(async () => {
  redis = await openDedicatedRedisCluster({ spares: 1 });
  fleet = await startDedicatedFleet({ REDIS_URL: redis.url }, 3);
});
afterAll(async () => {
  for (const one of [fleet, redis]) await one?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await workload?.[Symbol.asyncDispose]();
  workload = undefined;
});

interface FleetView {
  readonly services: readonly { readonly instances: readonly { readonly state: string }[] }[];
}
const json = async <T>(url: string, init?: RequestInit): Promise<T> => (await fetch(url, init)).json() as Promise<T>;
const everybody = () => {
  const { gateways, sessionServices, healthAggregators } = fleet.describe();
  return [...gateways, ...sessionServices, ...healthAggregators];
};
const untilHealthy = () =>
  until(
    () => Promise.all(everybody().map(async ({ url }) => (await json<{ status: string }>(`${url}/health`)).status)),
    {
      ok: (all) => all.every((status) => status === 'healthy'),
      what: 'everybody to be healthy',
      timeoutMs: 30_000,
    },
  );
const slotsOf = ({ groups }: DeliveryWorkload) =>
  groups.map((group) => slotOf(groupKeys(PREFIX, group as GroupKey).channel));

test('[FD9] on a cluster, sessions, tickets, guests, presence, the registry and control commands work', async () => {
  await untilHealthy();
  // An instance reports up before the aggregator has probed it often enough to report it up.
  await until(() => json<FleetView>(`${fleet.publicUrl}/v1/fleet`), {
    ok: ({ services }) => {
      const states = services.flatMap(({ instances }) => instances.map(({ state }) => state));
      return states.length === everybody().length && states.every((state) => state === 'up');
    },
    what: 'every instance in the registry, up',
    timeoutMs: 30_000,
  });
  const guest = await fetch(`${fleet.publicUrl}/v1/guest-sessions`, {
    method: 'POST',
    headers: { origin: fleet.publicUrl, 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' },
    body: '{}',
  });
  expect(guest.status).toBe(201);
  expect(guest.headers.get('ratelimit')).toMatch(/"ip"/);

  const phone = await signInUser(fleet.describe(), 'ann');
  const bearer = { authorization: `Bearer ${'token' in phone.credential ? phone.credential.token : ''}` };
  const { ticket } = await json<{ ticket: string }>(`${fleet.publicUrl}/v1/session/ws-ticket`, {
    method: 'POST',
    headers: { ...bearer, 'content-type': 'application/json' },
    body: '{}',
  });
  const byTicket = await sdkClient(fleet.publicUrl, { token: ticket });
  byTicket[Symbol.dispose]();
  await expect(sdkClient(fleet.publicUrl, { token: ticket })).rejects.toThrow();
  const laptop = await signInUser(fleet.describe(), 'ann');
  const [one, two] = await onDifferentGateways([
    () => sdkClient(fleet.publicUrl, phone.credential),
    () => sdkClient(fleet.publicUrl, phone.credential),
  ]);
  using stays = await sdkClient(fleet.publicUrl, laptop.credential);
  const rooms = await Promise.all([one, two, stays].map((client) => client.subscribe('room')));
  await until(async () => (await rooms[0]?.subscription.presenceStats())?.numClients, {
    ok: (count) => count === 3,
    what: 'three to be present',
  });
  const listed = () =>
    json<{ result?: { channels?: Record<string, { num_clients: number }> } }>(`${fleet.publicUrl}/api/channels`, {
      method: 'POST',
      headers: { 'x-api-key': fleet.describe().serverApiKey, 'content-type': 'application/json' },
      body: '{}',
    });
  await until(listed, {
    ok: ({ result }) => result?.channels?.['room']?.num_clients === 3,
    what: 'the answers of all gateways about the group',
  });

  expect((await endOwnSession(fleet.publicUrl, phone.credential)).status).toBe(204);
  for (const { closes } of [one, two]) {
    await until(() => closes.length, { what: 'the socket to be closed' });
    expect(closes).toEqual([{ code: 4501, reason: expect.any(String) }]);
  }
  await expect(sdkClient(fleet.publicUrl, phone.credential)).rejects.toThrow();
  expect(stays.client.state).toBe('connected');
});

test('[FD10] when slots of groups and of shared keys move under load, delivery is flawless', async () => {
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
  const slots = [...slotsOf(workload), ...SHARED.map(slotOf)];
  await workload.publishDuring(async () => {
    await pause(1_000);
    for (const slot of slots) {
      const from = await redis.ownerOf(slot);
      const to = redis.nodes[(redis.nodes.indexOf(from) + 1) % PRIMARIES];
      if (to !== undefined) await redis.moveSlot(slot, to);
      await pause(500);
    }
    await pause(2_000);
  });
  expect(await assertDelivery('slots moved under load', workload)).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload)).toEqual([]);
  expect(workload.clients.flatMap(({ resumes }) => resumes)).toEqual([]);
  await untilHealthy();
  const bob = await signInUser(fleet.describe(), 'bob');
  using client = await sdkClient(fleet.publicUrl, bob.credential);
  await endOwnSession(fleet.publicUrl, bob.credential);
  await until(() => client.closes.length, { what: 'an end after the session bus has moved' });
});

test('[FD11] when a node is killed and restarts, delivery is flawless and no connection is lost', async () => {
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
  const before = everybody().map(({ pid }) => pid);
  const [slot = 0] = slotsOf(workload);
  const victim = await redis.ownerOf(slot);
  await workload.publishDuring(async () => {
    await pause(1_500);
    victim.signal('SIGKILL');
    await pause(3_000);
    await victim.start();
    await pause(2_000);
  });
  expect(await assertDelivery('a node of the cluster killed', workload)).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload)).toEqual([]);
  await untilHealthy();
  expect(everybody().map(({ pid }) => pid)).toEqual(before);
});

test('[FD12] when a node is killed, the fleet uses its replica, and losses are notified', async () => {
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
  const [slot = 0] = slotsOf(workload);
  const victim = await redis.ownerOf(slot);
  const spare = redis.nodes.at(-1);
  if (spare === undefined) throw new Error('there is no spare node');
  await redis.replicate(spare, victim);
  await workload.publishDuring(async () => {
    await pause(1_500);
    victim.signal('SIGKILL');
    await until(() => spare.direct.info('replication'), {
      ok: (info) => info.includes('role:master'),
      what: 'the replica to take over',
      timeoutMs: 30_000,
    });
    await pause(3_000);
  });
  const report = await assertDelivery('a node of the cluster replaced by its replica', workload);
  expect(report).toMatchObject({
    ...FLAWLESS,
    announced: expect.any(Array),
    announcedLate: expect.any(Array),
    duplicates: expect.any(Array),
  });
  if (report.announced.length === 0) expect(report.duplicates).toEqual([]);
  expect(disconnectedClients(workload)).toEqual([]);
  await untilHealthy();
});
