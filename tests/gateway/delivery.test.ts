import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import type { Centrifuge, Subscription } from 'centrifuge';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { connected, sdk, startGateway, type TestGateway } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
/** One gateway straight at Redis, one behind a saboteur. */
let steady: TestGateway;
let shaky: TestGateway;
let proxy: FaultProxy;
let token: string;
const open: Centrifuge[] = [];
let rooms = 0;

beforeAll(async () => {
  sessions = await startService(stores);
  proxy = await openFaultProxy(stores.redisUrl);
  steady = await startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: 'steady' });
  shaky = await startGateway({ redisUrl: proxy.url, redisPrefix: stores.redisPrefix }, sessions.opsUrl, {
    INSTANCE_NAME: 'shaky',
    REDIS_COMMAND_TIMEOUT_MS: '500',
  });
  const user_id = 'u_delivery';
  token = (await sessions.service('POST', '/v1/sessions', { user_id, transport: 'bearer' })).body.token;
});
afterEach(() => {
  for (const client of open.splice(0)) client.disconnect();
});
afterAll(async () => {
  for (const one of [steady, shaky, sessions, proxy]) await one[Symbol.asyncDispose]();
});

interface Reader {
  readonly client: Centrifuge;
  readonly subscription: Subscription;
  readonly received: number[];
  /** Outcomes of subscribing again: true when nothing was lost. */
  readonly resumes: boolean[];
  drops: number;
}

const reader = async (gateway: TestGateway, room: string): Promise<Reader> => {
  const client = await connected(sdk(gateway, { token }));
  open.push(client);
  const received: number[] = [];
  const resumes: boolean[] = [];
  const subscription = client.newSubscription(room);
  subscription.on('publication', ({ data }) => received.push(data));
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    if (wasRecovering) resumes.push(recovered);
  });
  subscription.subscribe();
  await subscription.ready(5_000);
  const one: Reader = { client, subscription, received, resumes, drops: 0 };
  client.on('connecting', () => {
    one.drops += 1;
  });
  return one;
};

/** Publishes 0, 1, 2 … each until it is acknowledged, and answers how to stop. */
const publishing = async (room: string) => {
  const client = await connected(sdk(steady, { token }));
  open.push(client);
  let count = 0;
  let on = true;
  const loop = (async () => {
    while (on) {
      await client.publish(room, count);
      count += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    stop: async () => {
      on = false;
      await loop;
      return count;
    },
  };
};

const newRoom = () => `delivery:${++rooms}`;
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

describe('delivery once and in order', () => {
  test('[RC2] given clients that drop and reconnect to another gateway, when publications are made, then every client receives all of them', async () => {
    const room = newRoom();
    const one = await reader(steady, room);
    const publisher = await publishing(room);
    for (let round = 0; round < 4; round++) {
      await new Promise((resolve) => setTimeout(resolve, 150));
      await one.client.ready(5_000);
      // The SDK keeps its position when the transport breaks.
      (
        one.client as unknown as { _transport: { _transport: { terminate(): void } } }
      )._transport._transport.terminate();
    }
    await new Promise((resolve) => setTimeout(resolve, 600));
    const count = await publisher.stop();
    await until(() => one.received.length >= count, { what: 'all publications' });
    expect(one.received).toEqual(upTo(count));
    expect(one.drops).toBeGreaterThan(0);
    expect(one.resumes.every(Boolean)).toBe(true);
  });

  test('[GP1] given resets of every Redis connection twice a second, when publications are made, then every client receives all of them', async () => {
    const room = newRoom();
    const readers = await Promise.all(upTo(20).map(() => reader(shaky, room)));
    const publisher = await publishing(room);
    for (let round = 0; round < 8; round++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      proxy.resetAll();
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const count = await publisher.stop();
    await until(() => readers.every(({ received }) => received.length >= count), {
      what: 'all publications',
      timeoutMs: 10_000,
    });
    for (const { received, drops, resumes } of readers) {
      expect(received).toEqual(upTo(count));
      expect([drops, resumes]).toEqual([0, []]);
    }
    expect(await shaky.metric('gateway_sequence_gaps_total{outcome="lost"}')).toBe(0);
    expect(await shaky.metric('gateway_sequence_gaps_total{outcome="repaired"}')).toBeGreaterThan(0);
  });

  test('[GP2] given a link that drops everything for seconds, when publications are made, then every client receives all of them', async () => {
    const room = newRoom();
    const readers = await Promise.all(upTo(5).map(() => reader(shaky, room)));
    const publisher = await publishing(room);
    await proxy.blackhole();
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await proxy.pass();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const count = await publisher.stop();
    await until(() => readers.every(({ received }) => received.length >= count), {
      what: 'all publications',
      timeoutMs: 15_000,
    });
    for (const { received, drops } of readers) {
      expect(received).toEqual(upTo(count));
      expect(drops).toBe(0);
    }
  });

  test('[GP4] given a flush of Redis, when it is detected, then every subscriber is notified and later publications arrive', async () => {
    const room = newRoom();
    const readers = await Promise.all([reader(steady, room), reader(shaky, room)]);
    await readers[0]?.client.publish(room, 0);
    await until(() => readers.every(({ received }) => received.length === 1), {
      what: 'the first publication',
    });
    const redis = new Redis(stores.redisUrl);
    const keys = await redis.keys(`${stores.redisPrefix}g*`);
    await redis.del(...keys);
    redis.disconnect();
    await until(() => readers.every(({ resumes }) => resumes.includes(false)), {
      what: 'the news',
      timeoutMs: 12_000,
    });
    await readers[0]?.client.publish(room, 1);
    await until(() => readers.every(({ received }) => received.includes(1)), {
      what: 'the next publication',
    });
  });
});
