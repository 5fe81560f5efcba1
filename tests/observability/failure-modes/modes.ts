import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedPostgres, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { Redis } from 'ioredis';
import { Client } from 'pg';

/** A failure mode that is produced in a real store. */
export interface Mode {
  readonly name: string;
  /** Reason in `/health` during the fault. */
  readonly reason: string;
  make(): Promise<void>;
  heal(): Promise<void>;
}

/** A dedicated store, its URL for services, and its failure modes. */
export interface FaultyStore extends AsyncDisposable {
  readonly url: string;
  readonly modes: readonly Mode[];
}

/** Failure modes that are the same for every store. */
const processModes = (store: DedicatedStore): readonly Mode[] => [
  { name: 'down', reason: 'refused', make: store.stop, heal: store.start },
];

export const openFaultyRedis = async (): Promise<FaultyStore> => {
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openDedicatedRedis());
  // Errors of this connection are those of the faults.
  const admin = stack.adopt(new Redis(store.url), (client) => client.disconnect());
  admin.on('error', () => {});
  const allow = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'app', 'reset', 'on', ...rules);
  const everything = async () => void (await allow('>pw', '~*', '&*', '+@all'));
  await everything();
  // ACL users are lost when the process ends.
  const restart = async () => {
    await store.start();
    await everything();
  };
  const owned = stack.move();
  return {
    url: store.url.replace('redis://', 'redis://app:pw@'),
    modes: [
      ...processModes(store).map((mode) => ({ ...mode, heal: restart })),
      {
        name: 'hanging',
        reason: 'timeout',
        make: async () => store.signal('SIGSTOP'),
        heal: async () => store.signal('SIGCONT'),
      },
      {
        name: 'wrong password',
        reason: 'auth',
        make: async () => {
          await allow('>another', '~*', '&*', '+@all');
          await admin.call('CLIENT', 'KILL', 'USER', 'app');
        },
        heal: everything,
      },
      {
        name: 'without permission (no channels)',
        reason: 'permission',
        make: async () => void (await allow('>pw', '~*', '+@all')),
        heal: everything,
      },
      {
        name: 'read-only (a replica)',
        reason: 'read_only',
        make: async () => void (await admin.replicaof('127.0.0.1', 1)),
        heal: async () => void (await admin.replicaof('NO', 'ONE')),
      },
      {
        name: 'full (`maxmemory`, `noeviction`)',
        reason: 'full',
        make: async () => void (await admin.config('SET', 'maxmemory', '1')),
        heal: async () => void (await admin.config('SET', 'maxmemory', '0')),
      },
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

export const openFaultyPostgres = async (): Promise<FaultyStore> => {
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openDedicatedPostgres());
  const run = async (...statements: string[]) => {
    const client = new Client({ connectionString: store.url });
    await client.connect();
    try {
      for (const text of statements) await client.query(text);
    } finally {
      await client.end();
    }
  };
  await run("CREATE ROLE app LOGIN PASSWORD 'pw'", 'CREATE DATABASE app OWNER app');
  const url = new URL(store.url);
  Object.assign(url, { username: 'app', password: 'pw', pathname: '/app' });
  await migrate(url.href);
  const disconnect = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'";
  const inApp = async (statement: string) => {
    const client = new Client({
      connectionString: Object.assign(new URL(store.url), { pathname: '/app' }).href,
    });
    await client.connect();
    await client.query(statement).finally(() => client.end());
  };
  let frozen: number[] = [];
  const owned = stack.move();
  return {
    url: url.href,
    modes: [
      ...processModes(store),
      {
        name: 'hanging',
        reason: 'timeout',
        make: async () => {
          const client = new Client({ connectionString: store.url });
          await client.connect();
          const { rows } = await client.query("SELECT pid FROM pg_stat_activity WHERE usename = 'app'");
          await client.end();
          // The server and its backend processes.
          store.signal('SIGSTOP');
          frozen = rows.map(({ pid }) => Number(pid));
          for (const pid of frozen) process.kill(pid, 'SIGSTOP');
        },
        heal: async () => {
          for (const pid of frozen) process.kill(pid, 'SIGCONT');
          store.signal('SIGCONT');
        },
      },
      {
        name: 'wrong password',
        reason: 'auth',
        make: () => run("ALTER ROLE app PASSWORD 'another'", disconnect),
        heal: () => run("ALTER ROLE app PASSWORD 'pw'"),
      },
      {
        name: 'without permission (`UPDATE` of `sessions`)',
        reason: 'permission',
        make: () => inApp('REVOKE UPDATE ON sessions FROM app'),
        heal: () => inApp('GRANT UPDATE ON sessions TO app'),
      },
      {
        name: 'read-only (`default_transaction_read_only`)',
        reason: 'read_only',
        make: () => run('ALTER SYSTEM SET default_transaction_read_only = on', 'SELECT pg_reload_conf()'),
        heal: () => run('ALTER SYSTEM RESET default_transaction_read_only', 'SELECT pg_reload_conf()'),
      },
      {
        name: 'wrong database (renamed)',
        reason: 'wrong_database',
        make: () =>
          run('ALTER DATABASE app ALLOW_CONNECTIONS false', disconnect, 'ALTER DATABASE app RENAME TO elsewhere'),
        heal: () => run('ALTER DATABASE elsewhere RENAME TO app', 'ALTER DATABASE app ALLOW_CONNECTIONS true'),
      },
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};
