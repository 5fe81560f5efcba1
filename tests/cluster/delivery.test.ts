import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDedicatedFleet } from './dedicated-fleet.ts';
import { type DeliveryWorkload, startDeliveryWorkload } from './delivery-workload.ts';

/** The short form of what tests/chaos does at length. */
const SIZE = { subscribers: 24, groups: 3, publicationsPerSecond: 30 };
const FLAWLESS = {
  missing: [],
  announced: [],
  announcedLate: [],
  duplicates: [],
  misordered: [],
  unexpected: [],
};

let fleet: LocalFleet;
let workload: DeliveryWorkload;

beforeAll(async () => {
  fleet = await startDedicatedFleet();
  workload = await startDeliveryWorkload(fleet.describe(), SIZE);
});
afterAll(async () => {
  await workload?.[Symbol.asyncDispose]();
  await fleet?.[Symbol.asyncDispose]();
});

const pidOf = (index: number) => fleet.describe().gateways[index]?.pid;
const dropped = () => workload.clients.flatMap((one) => one.dropped);

test('[FD4] when subscriber connections are cut repeatedly, delivery is flawless and no client is affected', async () => {
  const redis = new Redis(fleet.describe().redisUrl);
  await workload.publishDuring(async () => {
    for (let round = 0; round < 4; round += 1) {
      const clients = ((await redis.client('LIST')) as string).split('\n');
      for (const line of clients.filter((one) => /name=\S+#bus /.test(one))) {
        await redis.client('KILL', 'ID', /^id=(\d+)/.exec(line)?.[1] ?? '');
      }
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  });
  redis.disconnect();
  expect(await workload.settle()).toMatchObject(FLAWLESS);
  expect(dropped()).toEqual([]);
});

test('[FD1] [FD2] when a gateway is killed and the other restarts, delivery is flawless', async () => {
  const [victim, other] = fleet.describe().gateways;
  await workload.publishDuring(async () => {
    const pid = pidOf(0);
    fleet.kill(victim?.name ?? '', 'SIGKILL');
    await until(() => pidOf(0), {
      ok: (now) => Boolean(now) && now !== pid,
      what: 'the restart',
      timeoutMs: 30_000,
    });
    expect(new Set(dropped())).toEqual(new Set([victim?.name]));
    await fleet.halt(other?.name ?? '');
    await fleet.resume(other?.name ?? '');
  });
  expect(await workload.settle()).toMatchObject(FLAWLESS);
});

test('[FD6] [FD13] when Redis is flushed, every subscriber is notified and nothing is lost without notification', async () => {
  const redis = new Redis(fleet.describe().redisUrl);
  await workload.publishDuring(async () => {
    await redis.flushall();
    await until(() => workload.clients.filter(({ resumes }) => !resumes.includes(false)).length, {
      ok: (untold) => untold === 0,
      what: 'everybody to be told',
      timeoutMs: 15_000,
    });
  });
  redis.disconnect();
  expect(await workload.settle()).toMatchObject({ ...FLAWLESS, announced: expect.any(Array) });
});
