import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FleetDescription } from '@muster/fleet/fleet-description';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { fakeFleet, isRunning, ownStores, temporaryDirectory } from './fake-fleet.ts';

const connectPostgres = async (url: string): Promise<Client & AsyncDisposable> => {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
};

test('[LA9] [LA10] [LA31] a crashed child is logged with its last lines, restarted, and described with its new pid', async () => {
  using directory = temporaryDirectory();
  await using started = await fakeFleet(directory.path);
  const { fleet, logLines } = started;
  const [first] = fleet.describe().gateways;
  await fetch(`${first!.url}/crash`).catch(() => {});

  const onDisk = () => JSON.parse(readFileSync(join(directory.path, 'fleet.json'), 'utf8')) as FleetDescription;
  const after = await until(() => onDisk().gateways[0]!.pid, {
    ok: (pid) => pid !== first!.pid,
    what: 'a new process id in fleet.json',
  });
  expect(isRunning(after)).toBe(true);
  expect(logLines).toContainEqual(
    expect.stringMatching(/^ws-gateway-1 ended \(exit code 3\)\n +ws-gateway-1 is about to crash$/),
  );
  expect(logLines).toContain('ws-gateway-1 restarts in 0.2 s');
  expect((await fetch(`${first!.url}/readyz`)).status).toBe(200);
});

test('[LA9] [LA10] when a child is killed repeatedly, each delay is twice the previous delay', async () => {
  using directory = temporaryDirectory();
  await using started = await fakeFleet(directory.path, { gateways: 1 });
  const { fleet, logLines } = started;
  for (const pause of [0.2, 0.4, 0.8]) {
    const { pid } = fleet.describe().gateways[0]!;
    process.kill(pid, 'SIGKILL');
    await until(() => fleet.describe().gateways[0]!.pid, {
      ok: (now) => now !== 0 && now !== pid,
      what: 'the next process',
    });
    expect(logLines).toContain(`ws-gateway-1 restarts in ${pause} s`);
    await until(() => logLines.filter((line) => line.startsWith('ws-gateway-1 is ready again')).length, {
      ok: (count) => count === Math.log2(pause / 0.2) + 1,
      what: 'the gateway to be back',
    });
  }
  expect(logLines.filter((line) => line.startsWith('ws-gateway-1 ended (killed by SIGKILL)'))).toHaveLength(3);
});

test('[LA10] killed stores restart at the same address with their data', async () => {
  using directory = temporaryDirectory();
  await using started = await fakeFleet(directory.path, { env: ownStores(), gateways: 1 });
  const { fleet, logLines } = started;
  const { redisUrl, databaseUrl } = fleet.describe();
  const redis = new Redis(redisUrl);
  redis.on('error', () => {});
  await redis.set('held', 'yes');
  await (await connectPostgres(databaseUrl)).query('create table held as select 1 as id');
  // The append-only file is written once a second.
  await sleep(1_100);

  fleet.kill('redis', 'SIGKILL');
  fleet.kill('postgres', 'SIGKILL');
  for (const name of ['redis', 'postgres']) {
    await until(() => logLines.some((line) => line.startsWith(`${name} is ready again`)), {
      what: `${name} to be back`,
      timeoutMs: 20_000,
    });
  }
  expect(await redis.get('held')).toBe('yes');
  redis.disconnect();
  await using postgres = await connectPostgres(databaseUrl);
  expect((await postgres.query('select id from held')).rows).toEqual([{ id: 1 }]);
});

test('[LA11] a halted child stays down until it is resumed', async () => {
  using directory = temporaryDirectory();
  await using started = await fakeFleet(directory.path);
  const { fleet, logLines } = started;
  const { url } = fleet.describe().gateways[0]!;
  await fleet.halt('ws-gateway-1');
  await sleep(500);
  await expect(fetch(`${url}/readyz`)).rejects.toThrow();
  expect(logLines.filter((line) => line.includes('restarts'))).toEqual([]);
  await fleet.resume('ws-gateway-1');
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
});

test('[LA14] [LA32] data is kept over a restart, and removed by `fresh`', async () => {
  using directory = temporaryDirectory();
  const env = ownStores();
  const visit = async (fresh: boolean) => {
    await using started = await fakeFleet(directory.path, { env, fresh, gateways: 1 });
    const { redisUrl, databaseUrl } = started.fleet.describe();
    const redis = new Redis(redisUrl);
    await using postgres = await connectPostgres(databaseUrl);
    await postgres.query('create table if not exists visits (id int)');
    await postgres.query('insert into visits values (1)');
    const { rows } = await postgres.query<{ count: string }>('select count(*) from visits');
    const counted = { redis: await redis.incr('visits'), postgres: Number(rows[0]!.count) };
    redis.disconnect();
    return counted;
  };
  expect(await visit(false)).toEqual({ redis: 1, postgres: 1 });
  expect(await visit(false)).toEqual({ redis: 2, postgres: 2 });
  expect(await visit(true)).toEqual({ redis: 1, postgres: 1 });
});

test('[LA17] a lock file that names another process does not prevent Postgres from starting', async () => {
  using directory = temporaryDirectory();
  const env = ownStores();
  await (await fakeFleet(directory.path, { env, gateways: 1 })).fleet.stop();
  const lock = join(directory.path, 'postgres', 'postmaster.pid');
  expect(existsSync(lock)).toBe(false);
  mkdirSync(dirname(lock), { recursive: true });
  // Process 1 runs on every machine and is another program.
  writeFileSync(lock, `1\n${dirname(lock)}\n1\n5432\n\n127.0.0.1\n0 0\nready\n`);
  await using started = await fakeFleet(directory.path, { env, gateways: 1 });
  expect(started.fleet.describe().databaseUrl).toContain('127.0.0.1');
});
