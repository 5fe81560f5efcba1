import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startChild } from '@muster/local/child-process';
import { startTimeOf } from '@muster/local/process-identity';
import { openDedicatedPostgres, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { openStoreBackend } from '@muster/testkit/store-backend';
import { testStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { describe, expect, inject, test } from 'vitest';

const query = async <T extends object>(url: string, text: string): Promise<T[]> => {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
};

const redisAt = (url: string): Redis & Disposable => {
  const redis = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 50 });
  redis.on('error', () => {});
  return Object.assign(redis, { [Symbol.dispose]: () => redis.disconnect() });
};

describe('stores', () => {
  test('[TS1] two files share a server and nothing else', async () => {
    await using one = await testStores();
    await using two = await testStores();
    expect(one.redisPrefix).not.toBe(two.redisPrefix);
    await query(one.databaseUrl, 'create table only_in_one (id int)');
    expect(await query(two.databaseUrl, "select to_regclass('only_in_one') as found")).toEqual([{ found: null }]);
  });

  test('[TS2] given concurrent callers, then the template is migrated once', async () => {
    let migrations = 0;
    const migrate = async (url: string) => {
      migrations += 1;
      await query(url, 'create table migrated (id int)');
    };
    // The template belongs to the whole run: another file may have made it already.
    const opened = await Promise.all([1, 2, 3].map(() => testStores({ migrate })));
    const urls = await Promise.all(opened.map((stores) => stores.createDatabase()));
    expect(migrations).toBeLessThanOrEqual(1);
    expect(new Set([...urls, ...opened.map((one) => one.databaseUrl)]).size).toBe(6);
    const tables = await Promise.all(
      urls.map((url) => query(url, "select 1 from pg_tables where schemaname = 'public'")),
    );
    for (const found of tables) expect(found.length).toBeGreaterThan(0);
    await Promise.all(opened.map((stores) => stores[Symbol.asyncDispose]()));
  });

  test('[TS3] what was made is gone afterwards, and nothing else', async () => {
    const { redisUrl, databaseUrl } = inject('storeBackend');
    using redis = redisAt(redisUrl);
    const stores = await testStores();
    await redis.set(`${stores.redisPrefix}mine`, 'x');
    await redis.set('somebody-elses', 'x', 'EX', 60);
    const name = new URL(stores.databaseUrl).pathname.slice(1);
    await stores[Symbol.asyncDispose]();
    expect(await redis.exists(`${stores.redisPrefix}mine`, 'somebody-elses')).toBe(1);
    const found = await query<{ datname: string }>(databaseUrl, 'select datname from pg_database');
    expect(found.map(({ datname }) => datname)).not.toContain(name);
    await redis.del('somebody-elses');
  });

  test('[TS4] reports the stores, their versions, and the reason of the choice', async () => {
    const { redisUrl, databaseUrl } = inject('storeBackend');
    const env = { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl };
    await using backing = await openStoreBackend(env, () => {});
    expect(backing.description).toMatch(
      /^(Redis|Valkey) \d+\.\d+\.\d+ and Postgres \d+\.\d+ from REDIS_URL and DATABASE_URL$/,
    );
  });

  test('[TS5] the next run removes processes and directories of a killed one, and no others', async () => {
    const { path: left, child } = await leftover({
      pid: 2 ** 22 - 1,
      startTime: '1',
    });
    const other = await leftover({
      pid: process.pid,
      startTime: startTimeOf(process.pid) ?? '',
    });
    // A closed port stands for an engine that does not answer.
    await using _backing = await openStoreBackend(
      {
        PATH: process.env['PATH'],
        DOCKER_HOST: 'tcp://127.0.0.1:1',
        DATABASE_URL: inject('storeBackend').databaseUrl,
      },
      () => {},
    );
    expect(existsSync(left)).toBe(false);
    expect(child.isRunning()).toBe(false);
    expect(existsSync(other.path)).toBe(true);
    expect(other.child.isRunning()).toBe(true);
    await other.child.stop({ signal: 'SIGKILL', deadlineMs: 1_000 });
    rmSync(other.path, { recursive: true });
  });

  test('[TS7] [TS9] given TEST_STORES, containers are used or the reason is reported, and binaries look for no engine', async () => {
    const env = { TEST_STORES: 'containers', DOCKER_HOST: 'tcp://127.0.0.1:1' };
    await expect(openStoreBackend(env, () => {})).rejects.toThrow('TEST_STORES=containers: no Docker engine answers');
    const { REDIS_URL: _redis, DATABASE_URL: _database, ...inherited } = process.env;
    await using local = await openStoreBackend({ ...inherited, TEST_STORES: 'binaries' }, () => {});
    expect(local.description).toContain('local binaries (TEST_STORES=binaries)');
  }, 90_000);

  test('[TS6] a Redis of one’s own keeps address and data over a stop', async () => {
    await using own = await openDedicatedRedis();
    using redis = redisAt(own.url);
    await redis.set('kept', 'yes');
    await own.stop();
    await expect(redis.get('kept')).rejects.toThrow();
    await own.start();
    expect(await until(() => redis.get('kept'), { what: 'the value' })).toBe('yes');
  });

  test('[TS6] a Postgres of one’s own keeps address and data over a kill', async () => {
    await using own = await openDedicatedPostgres();
    await query(own.url, 'create table kept as select 1 as id');
    own.signal('SIGKILL');
    await until(() => query(own.url, 'select 1').catch(() => 'gone'), {
      ok: (seen) => seen === 'gone',
      what: 'the end of Postgres',
    });
    await own.start();
    expect(await query(own.url, 'select id from kept')).toEqual([{ id: 1 }]);
  });
});

/** A directory as a killed run leaves it, with a process that still runs. */
const leftover = async (owner: { pid: number; startTime: string }) => {
  const path = mkdtempSync(join(tmpdir(), 'muster-test-'));
  const child = await startChild({
    name: 'left',
    command: process.execPath,
    args: ['-e', 'setInterval(() => {}, 1000)'],
    env: process.env,
    logFile: join(path, 'left.log'),
  });
  const known = { name: 'left', pid: child.pid, startTime: startTimeOf(child.pid), stopSignal: 'SIGTERM' };
  writeFileSync(join(path, 'owner.json'), JSON.stringify({ ...owner, children: [known] }));
  return { path, child };
};

describe('faults', () => {
  /** A server that answers each byte with the same byte. */
  const openEcho = async () => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
      [Symbol.dispose]: () => {
        for (const socket of sockets) socket.destroy();
        server.close();
      },
    };
  };

  const dial = async (port: number) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const heard = { text: '' };
    socket.on('error', () => {});
    socket.on('data', (data) => {
      heard.text += data.toString();
    });
    const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await once(socket, 'connect');
    return { socket, heard, ended, [Symbol.dispose]: () => void socket.destroy() };
  };

  const hear = (heard: { text: string }, text: string) =>
    until(() => heard.text, { ok: (seen) => seen === text, what: JSON.stringify(text) });

  test('[FP1] a passing proxy is invisible', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url);
    using client = await dial(proxy.port);
    client.socket.write('hello');
    await hear(client.heard, 'hello');
    expect(new URL(proxy.url).port).toBe(String(proxy.port));
    expect(proxy.connections()).toBe(1);
    client.socket.end();
    await client.ended;
    await until(() => proxy.connections() === 0, { what: 'the connection to be gone' });
  });

  test('[FP1] the address of a URL changes and nothing else', async () => {
    await using proxy = await openFaultProxy('postgres://user:secret@127.0.0.1:5432/name?x=1');
    expect(proxy.url).toBe(`postgres://user:secret@127.0.0.1:${proxy.port}/name?x=1`);
  });

  test('[FP2] a blackhole swallows nothing: it all arrives afterwards, in order', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url);
    using before = await dial(proxy.port);
    await proxy.blackhole();
    using during = await dial(proxy.port);
    before.socket.write('one ');
    before.socket.write('two');
    during.socket.write('three');
    await sleep(100);
    expect([before.heard.text, during.heard.text, before.socket.destroyed]).toEqual(['', '', false]);
    await proxy.pass();
    await hear(before.heard, 'one two');
    await hear(during.heard, 'three');
  });

  test('[FP3] delayed bytes are late and in order, also when the delay ends', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url);
    using client = await dial(proxy.port);
    await proxy.delay(100);
    const startedAt = performance.now();
    client.socket.write('late ');
    await sleep(20);
    await proxy.pass();
    client.socket.write('later');
    await hear(client.heard, 'late later');
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(100);
  });

  test('[FP4] a refusing proxy cuts and refuses until it passes again', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url);
    using client = await dial(proxy.port);
    await proxy.refuse();
    await client.ended;
    await expect(dial(proxy.port)).rejects.toThrow('ECONNREFUSED');
    await proxy.pass();
    using again = await dial(proxy.port);
    again.socket.write('back');
    await hear(again.heard, 'back');
  });

  test('[FP5] a reset cuts open connections and allows new connections', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url);
    using client = await dial(proxy.port);
    const reset = new Promise((resolve) => client.socket.once('error', resolve));
    await until(() => proxy.connections() === 1, { what: 'the connection' });
    proxy.resetAll();
    await client.ended;
    expect(await reset).toMatchObject({ code: 'ECONNRESET' });
    using again = await dial(proxy.port);
    again.socket.write('on');
    await hear(again.heard, 'on');
  });

  test('[FP6] given a mark, faults apply to the connections that sent it, including later connections', async () => {
    using echo = await openEcho();
    await using proxy = await openFaultProxy(echo.url, { only: /name=bus/ });
    using plain = await dial(proxy.port);
    using marked = await dial(proxy.port);
    plain.socket.write('name=command');
    marked.socket.write('name=bus');
    await hear(plain.heard, 'name=command');
    await hear(marked.heard, 'name=bus');
    await proxy.blackhole();
    using late = await dial(proxy.port);
    late.socket.write('name=bus');
    plain.socket.write('!');
    marked.socket.write('?');
    await hear(plain.heard, 'name=command!');
    expect([marked.heard.text, late.heard.text]).toEqual(['name=bus', '']);
    await proxy.pass();
    await hear(marked.heard, 'name=bus?');
    await hear(late.heard, 'name=bus');
    proxy.resetAll();
    await Promise.all([marked.ended, late.ended]);
    plain.socket.write('.');
    await hear(plain.heard, 'name=command!.');
  });
});
