import type { LocalFleet } from '@muster/fleet/fleet';
import { type DedicatedRedisSentinel, openDedicatedRedisSentinel } from '@muster/testkit/dedicated-redis-sentinel';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { endOwnSession, sdkClient, signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { type DeliveryWorkload, startDeliveryWorkload } from '../cluster/delivery-workload.ts';
import { assertDelivery, disconnectedClients, FLAWLESS, pause } from './assert-delivery.ts';

/** A primary, a replica, three sentinels; every service of the fleet finds the primary through them. */
const SIZE = { subscribers: 200, groups: 5, publicationsPerSecond: 50 };

let redis: DedicatedRedisSentinel;
let fleet: LocalFleet;
let workload: DeliveryWorkload;

beforeEach(async () => {
  redis = await openDedicatedRedisSentinel();
  fleet = await startDedicatedFleet({ REDIS_URL: redis.url }, 3);
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
});
afterEach(async () => {
  for (const one of [workload, fleet, redis]) await one?.[Symbol.asyncDispose]();
});

const failover = async (): Promise<void> => {
  const before = await redis.primaryPort();
  redis.servers[0].signal('SIGKILL');
  await until(redis.primaryPort, { ok: (port) => port !== before, what: 'the failover', timeoutMs: 30_000 });
};
const healthOf = async (url: string): Promise<string> =>
  ((await (await fetch(`${url}/health`)).json()) as { status: string }).status;
const everybody = () => {
  const { gateways, sessionServices, healthAggregators } = fleet.describe();
  return [...gateways, ...sessionServices, ...healthAggregators];
};
const untilHealthy = () =>
  until(() => Promise.all(everybody().map(({ url }) => healthOf(url))), {
    ok: (all) => all.every((status) => status === 'healthy'),
    what: 'everybody to be healthy',
    timeoutMs: 30_000,
  });

test('[FD7] when the primary is killed, the fleet uses the new primary, no connection is lost, and losses are notified', async () => {
  const before = everybody().map(({ pid }) => pid);
  await workload.publishDuring(async () => {
    await pause(1_500);
    await failover();
    await pause(2_000);
  });
  const report = await assertDelivery('Sentinel failover', workload);
  // Publications that the old primary acknowledged and the replica did not receive are reported as lost.
  expect(report).toMatchObject({
    ...FLAWLESS,
    announced: expect.any(Array),
    announcedLate: expect.any(Array),
    duplicates: expect.any(Array),
  });
  if (report.announced.length === 0) expect(report.duplicates).toEqual([]);
  expect(disconnectedClients(workload)).toEqual([]);
  await untilHealthy();
  expect(everybody().map(({ pid }) => pid)).toEqual(before);
});

test('[FD8] [FD14] when a replica that was behind is promoted, subscribers are notified and ended sessions stay ended', async () => {
  const { credential } = await signInUser(fleet.describe(), 'ann');
  using client = await sdkClient(fleet.publicUrl, credential);
  const { subscription } = await client.subscribe('news');
  const resumes: boolean[] = [];
  subscription.on('subscribed', ({ recovered }) => resumes.push(recovered));
  const ended = await signInUser(fleet.describe(), 'bob');
  // Warm: a snapshot of the live session is in Redis, and on the replica.
  (await sdkClient(fleet.publicUrl, ended.credential))[Symbol.dispose]();
  const replica = new Redis(redis.servers[1].url);
  await until(() => replica.exists(`muster:s:{${ended.id}}`), { what: 'the snapshot on the replica' });
  replica.disconnect();

  await workload.publishDuring(async () => {
    await pause(1_000);
    await redis.cutReplication();
    await subscription.publish('never replicated');
    // The change stream was not read since, and the replica never has the entry.
    expect((await endOwnSession(fleet.publicUrl, ended.credential)).status).toBe(204);
    await failover();
    await until(() => resumes.length, { what: 'the news', timeoutMs: 20_000 });
    await pause(1_000);
  });
  const report = await assertDelivery('failover with a replica that was behind', workload);
  expect(report).toMatchObject({
    ...FLAWLESS,
    announced: expect.any(Array),
    // Publications that arrived before the stores were compared were taken for the next publications.
    announcedLate: expect.any(Array),
    duplicates: expect.any(Array),
  });
  expect(resumes[0]).toBe(false);
  expect(disconnectedClients(workload)).toEqual([]);
  await untilHealthy();
  await expect(sdkClient(fleet.publicUrl, ended.credential)).rejects.toThrow();
  const token = 'token' in ended.credential ? ended.credential.token : '';
  const bearer = { authorization: `Bearer ${token}` };
  expect((await fetch(`${fleet.publicUrl}/v1/session`, { headers: bearer })).status).toBe(401);
});
