import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, inject } from 'vitest';
import './global-setup.ts';
import { inDatabase, type Migrate, migratedTemplate, withClient } from './template.ts';

const SCAN_COUNT = 1_000;

/** Stores of one test file, isolated from other files on the same servers. */
export interface TestStores extends AsyncDisposable {
  readonly redisUrl: string;
  /** Prefix of every key and channel of this file. */
  readonly redisPrefix: string;
  /** Database of this file; migrated when `migrate` is given. */
  readonly databaseUrl: string;
  /** Creates another such database. */
  createDatabase(): Promise<string>;
}

/**
 * Opens stores for a test file: `await using stores = await testStores({ migrate })`. With `migrate`, the
 * database is a copy of a template that was migrated once in this run. Disposing it drops its databases and keys.
 */
export const testStores = async ({ migrate }: { migrate?: Migrate } = {}): Promise<TestStores> => {
  const { redisUrl, databaseUrl: adminUrl, run } = inject('storeBackend');
  const redisPrefix = `t:${randomBytes(6).toString('hex')}:`;
  const made: string[] = [];

  const createDatabase = async (): Promise<string> => {
    const name = `muster_test_${run}_${randomBytes(6).toString('hex')}`;
    const template = migrate === undefined ? 'template0' : await migratedTemplate(adminUrl, run, migrate);
    await withClient(adminUrl, (client) => client.query(`create database ${name} template ${template}`));
    made.push(name);
    return inDatabase(adminUrl, name);
  };
  return {
    redisUrl,
    redisPrefix,
    databaseUrl: await createDatabase(),
    createDatabase,
    async [Symbol.asyncDispose]() {
      await withClient(adminUrl, async (client) => {
        for (const name of made) await client.query(`drop database if exists ${name} with (force)`);
      });
      await removeKeys(redisUrl, redisPrefix);
    },
  };
};

/** {@link testStores} by hooks: opened before the first test of the file or `describe`, dropped after the last. */
export const useTestStores = (options: { migrate?: Migrate } = {}): Omit<TestStores, typeof Symbol.asyncDispose> => {
  let stores: TestStores | undefined;
  const opened = (): TestStores => {
    if (stores === undefined) throw new Error('the stores are available in tests and hooks only');
    return stores;
  };
  beforeAll(async () => {
    stores = await testStores(options);
  });
  afterAll(async () => {
    await stores?.[Symbol.asyncDispose]();
  });
  return {
    get redisUrl() {
      return opened().redisUrl;
    },
    get redisPrefix() {
      return opened().redisPrefix;
    },
    get databaseUrl() {
      return opened().databaseUrl;
    },
    createDatabase: () => opened().createDatabase(),
  };
};

const removeKeys = async (url: string, prefix: string): Promise<void> => {
  const redis = new Redis(url, { maxRetriesPerRequest: 1 });
  redis.on('error', () => {});
  try {
    for await (const keys of redis.scanStream({ match: `${prefix}*`, count: SCAN_COUNT })) {
      if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
    }
  } finally {
    redis.disconnect();
  }
};
