import type { LocalFleet } from '@muster/fleet/fleet';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { type DeliveryWorkload, startDeliveryWorkload } from '../cluster/delivery-workload.ts';
import { assertDelivery, disconnectedClients, FLAWLESS, gatewaysMetric, pause } from './assert-delivery.ts';

/** Three gateways behind HAProxy; their listening connections go through a saboteur. */
const GATEWAYS = 3;
const SIZE = { subscribers: 200, groups: 5, publicationsPerSecond: 50 };

let redis: DedicatedStore;
let proxy: FaultProxy;
let fleet: LocalFleet;
let workload: DeliveryWorkload;

beforeAll(async () => {
  redis = await openDedicatedRedis({ persistent: 'always' });
  proxy = await openFaultProxy(redis.url, { only: /#bus/ });
  fleet = await startDedicatedFleet({ REDIS_URL: proxy.url, DRAIN_ACCEPT_MS: '1000' }, GATEWAYS);
});
afterAll(async () => {
  for (const one of [fleet, proxy, redis]) await one?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
});
afterEach(() => workload[Symbol.asyncDispose]());

const names = () => fleet.describe().gateways.map(({ name }) => name);
test('[FD1] when a gateway is killed twice, its clients reconnect to others and other clients are not affected', async () => {
  const [victim = ''] = names();
  await workload.publishDuring(async () => {
    for (let round = 0; round < 2; round += 1) {
      await pause(2_000);
      const { pid } = fleet.describe().gateways[0] ?? {};
      fleet.kill(victim, 'SIGKILL');
      await until(() => fleet.describe().gateways[0]?.pid, {
        ok: (now) => now !== undefined && now !== 0 && now !== pid,
        what: 'the restart',
        timeoutMs: 30_000,
      });
    }
  });
  const report = await assertDelivery('kill -9 of a gateway', workload);
  expect(report).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload, [victim])).toEqual([]);
  expect(workload.clients.some(({ dropped }) => dropped.length > 0)).toBe(true);
});

test('[FD2] when all gateways restart one by one, delivery is flawless', async () => {
  await workload.publishDuring(async () => {
    for (const name of names()) {
      await fleet.halt(name);
      await fleet.resume(name);
      await pause(1_500);
    }
  });
  const report = await assertDelivery('rolling SIGTERM', workload);
  expect(report).toMatchObject(FLAWLESS);
});

test('[FD3] when Redis is killed and restarts with its acknowledged data, no connection is lost', async () => {
  await workload.publishDuring(async () => {
    await pause(1_500);
    redis.signal('SIGKILL');
    await pause(2_000);
    await redis.start();
    await pause(2_000);
  });
  const report = await assertDelivery('kill -9 of Redis', workload);
  expect(report).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload)).toEqual([]);
});

test('[FD4] when subscriber connections are reset every 500 ms, no client is affected', async () => {
  const before = await gatewaysMetric(fleet, 'gateway_sequence_gaps_total{outcome="lost"}');
  await workload.publishDuring(async () => {
    for (let round = 0; round < 20; round += 1) {
      await pause(500);
      proxy.resetAll();
    }
  });
  const report = await assertDelivery('resets of the listening connections', workload);
  expect(report).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload)).toEqual([]);
  expect(workload.clients.flatMap(({ resumes }) => resumes)).toEqual([]);
  expect(await gatewaysMetric(fleet, 'gateway_sequence_gaps_total{outcome="lost"}')).toBe(before);
});

test('[FD5] when subscriber connections stall three times for seconds, no client is affected', async () => {
  await workload.publishDuring(async () => {
    for (let round = 0; round < 3; round += 1) {
      await proxy.blackhole();
      await pause(4_000);
      await proxy.pass();
      await pause(1_500);
    }
  });
  const report = await assertDelivery('half-open listening connections', workload);
  expect(report).toMatchObject(FLAWLESS);
  expect(disconnectedClients(workload)).toEqual([]);
  expect(workload.clients.flatMap(({ resumes }) => resumes)).toEqual([]);
});

test('[FD6] [FD13] when Redis is flushed, every subscriber is notified and nothing is lost without notification', async () => {
  await workload.publishDuring(async () => {
    await pause(1_500);
    const direct = new Redis(redis.url);
    await direct.flushall();
    direct.disconnect();
    await pause(3_000);
  });
  const report = await assertDelivery('FLUSHALL', workload);
  expect(report).toMatchObject({ ...FLAWLESS, announced: expect.any(Array) });
  expect(workload.clients.filter(({ resumes }) => !resumes.includes(false))).toEqual([]);
});
