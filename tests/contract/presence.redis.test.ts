import { randomBytes } from 'node:crypto';
import type { GroupKey } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import { createRedisPresence } from '@muster/bus/redis-presence';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import type { ClientId } from '@muster/protocol/ids';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';

const ROOM = 'room' as GroupKey;
const client = (name: string) => name as ClientId;
let prefix: string;
let direct: Redis;
let stack: AsyncDisposableStack;

beforeEach(() => {
  prefix = `t:${randomBytes(6).toString('hex')}:`;
  direct = new Redis(inject('storeBackend').redisUrl);
  stack = new AsyncDisposableStack();
  stack.defer(() => direct.disconnect());
});
afterEach(() => stack.disposeAsync());

interface Replica {
  readonly presence: Presence;
  readonly gone: string[];
  readonly link: FaultProxy;
}

const replica = async (): Promise<Replica> => {
  const link = stack.use(await openFaultProxy(inject('storeBackend').redisUrl));
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const config = {
    url: link.url,
    prefix,
    maxConnections: 6,
    connectTimeoutMs: 1000,
    commandTimeoutMs: 500,
    name: 't',
  };
  const redis = stack.use(await openRedis(config, { log, metrics }));
  const gone: string[] = [];
  const presence = createRedisPresence(
    { redis, log },
    { onGone: (group, who, info) => gone.push(`${group} ${who} ${info}`) },
  );
  stack.use(presence);
  return { presence, gone, link };
};
const seenBy = async ({ presence }: Replica) => [...((await presence.read(ROOM))?.keys() ?? [])].toSorted();

test('[PR1] given a client that was added, when any replica reads the presence, then it is listed until it is removed', async () => {
  const [a, b] = [await replica(), await replica()];
  await Promise.all([
    a.presence.add(ROOM, client('c1'), '{"user":"ann","client":"c1"}'),
    b.presence.add(ROOM, client('c2'), '{}'),
  ]);
  expect(await seenBy(a)).toEqual(['c1', 'c2']);
  expect((await b.presence.read(ROOM))?.get('c1')).toBe('{"user":"ann","client":"c1"}');
  await a.presence.remove(ROOM, client('c1'));
  expect(await seenBy(b)).toEqual(['c2']);
  expect(await a.presence.read('empty' as GroupKey)).toEqual(new Map());
  await a.presence.add(ROOM, client('c3'), '{}');
  expect(await b.presence.read(ROOM, 1)).toBeUndefined();
  expect((await b.presence.read(ROOM, 2))?.size).toBe(2);
});

test('[PR2] given a replica that crashed, when ten seconds pass, then its clients are not listed and one replica was notified', async () => {
  const [dead, a, b] = [await replica(), await replica(), await replica()];
  await dead.presence.add(ROOM, client('c1'), '{"user":"ann","client":"c1"}');
  await a.presence.add(ROOM, client('c2'), '{}');
  await dead.link.refuse();
  const startedAt = performance.now();
  await until(async () => (await seenBy(a)).length === 1, { what: 'readers to notice', timeoutMs: 8_000 });
  await until(() => a.gone.length + b.gone.length > 0, { what: 'a survivor to be told', timeoutMs: 10_000 });
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  expect([...a.gone, ...b.gone]).toEqual([`${ROOM} c1 {"user":"ann","client":"c1"}`]);
  expect(await direct.hkeys(`${prefix}gp:{room}`)).toEqual(['c2']);
});

test('[PR3] given a running replica, when its lease is lost, then it writes all its clients again', async () => {
  const [a, b] = [await replica(), await replica()];
  await a.presence.add(ROOM, client('c1'), '{}');
  await direct.del(...(await direct.keys(`${prefix}*`)));
  expect(await seenBy(b)).toEqual([]);
  await until(async () => (await seenBy(b)).length === 1, { what: 'the client to be back' });
});

test('[PR4] given a store that is down, when presence is used, then adding and reading fail, removing does not, and it recovers', async () => {
  const a = await replica();
  await a.presence.add(ROOM, client('c1'), '{}');
  await a.link.refuse();
  await expect(a.presence.add(ROOM, client('c2'), '{}')).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  await expect(a.presence.read(ROOM)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  await a.presence.remove(ROOM, client('c1'));
  await a.link.pass();
  await until(
    () =>
      seenBy(a).then(
        () => true,
        () => false,
      ),
    { what: 'the store' },
  );
});

test('[PR5] given a thousand clients at once, when they are added, then one command is sent', async () => {
  const a = await replica();
  const before = await commands();
  await Promise.all(Array.from({ length: 1000 }, (_, n) => a.presence.add(ROOM, client(`c${n}`), '{}')));
  // Other tests share this server; a command per client would be a thousand.
  expect((await commands()) - before).toBeLessThan(100);
  expect(await seenBy(a)).toHaveLength(1000);
});

const commands = async (): Promise<number> =>
  Number(/cmdstat_hset:calls=(\d+)/.exec(await direct.info('commandstats'))?.[1] ?? 0);
