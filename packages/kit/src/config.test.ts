import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { describeSettings, listSettings, readSettings } from './config.ts';
import { commonSettings, redisConfig, redisSettings } from './config-common.ts';
import { field, isOrigin, isPlaceholderSecret } from './config-fields.ts';

const schema = z.object({
  ...commonSettings({ port: 8100, opsPort: 9100 }),
  URL: field.url('redis').describe('where'),
  SECRETS: field.secrets({ min: 32 }).describe('keys'),
  WAIT_MS: field.ms(1_000, { min: 10, max: 5_000 }).describe('pause'),
  GUESTS: field.onOff('off').describe('guests'),
  ORIGINS: field.origins().describe('origins'),
});
const GOOD = { URL: 'redis://127.0.0.1:6379', SECRETS: 'q8Zr1-0vXk3nT7yLw2_Bd9GfHs4JcMpA' };

const problemOf = (env: NodeJS.ProcessEnv): string => {
  try {
    readSettings(schema, env);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

test('[CF1] [CF9] given invalid variables, when they are read, then every problem is listed without a value', () => {
  const problem = problemOf({
    URL: 'http://hunter2',
    SECRETS: 'hunter2',
    WAIT_MS: 'soon',
    PORT: '99999',
    GUESTS: 'perhaps',
  });
  for (const name of ['URL', 'SECRETS', 'WAIT_MS', 'PORT', 'GUESTS']) expect(problem).toContain(`- ${name}: `);
  expect(problem).not.toMatch(/hunter2|soon|99999|perhaps/);
  expect(problemOf({})).toContain('- URL: is required');
});

test('[CF2] [CF10] [CF11] given NAME_FILE, when it is read, then it replaces NAME; both, or an unreadable file, are refused', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'config-')), 'secret');
  writeFileSync(file, `${GOOD.SECRETS}\n`);
  expect(readSettings(schema, { URL: GOOD.URL, SECRETS_FILE: file }).secrets).toEqual([GOOD.SECRETS]);
  expect(problemOf({ ...GOOD, SECRETS_FILE: file })).toContain('not both');
  expect(problemOf({ URL: GOOD.URL, SECRETS_FILE: '/nonexistent/secret' })).toContain('ENOENT');
});

test('[CF3] [CF12] given an empty and an unknown variable, when they are read, then they count as absent', () => {
  const read = readSettings(schema, { ...GOOD, WAIT_MS: '', PATH: '/bin', ORIGINS: '' });
  expect(read.waitMs).toBe(1_000);
  expect(read.origins).toBeUndefined();
  expect(read).not.toHaveProperty('path');
});

test('[CF4] given a number that is not whole or not in bounds, when it is read, then it is refused', () => {
  for (const wrong of ['1.5', '-1', '1e3', '0x10', ' 5', '9', '5001', '']) {
    const problem = problemOf({ ...GOOD, WAIT_MS: wrong });
    expect(problem === '', wrong).toBe(wrong === '');
  }
  expect(readSettings(schema, { ...GOOD, WAIT_MS: '10' }).waitMs).toBe(10);
});

test('[CF5] given an origin with more than scheme, host and port, when it is read, then it is refused', () => {
  for (const good of ['https://app.example.com', 'http://127.0.0.1:8080', 'http://[::1]:3000']) {
    expect(isOrigin(good), good).toBe(true);
  }
  for (const bad of [
    'https://app.example.com/',
    'https://App.example.com',
    'app.example.com',
    'null',
    '*',
    'https://a:443',
    '',
  ]) {
    expect(isOrigin(bad), bad).toBe(false);
  }
});

test('on and off have the usual spellings', () => {
  expect(['on', 'TRUE', '1', 'yes'].map((GUESTS) => readSettings(schema, { ...GOOD, GUESTS }).guests)).toEqual(
    Array(4).fill(true),
  );
  expect(readSettings(schema, { ...GOOD, GUESTS: 'no' }).guests).toBe(false);
});

test('example secrets are recognised', () => {
  for (const example of ['change-me-please-change-me-please', 'this-is-an-example-secret-0123456', 'a'.repeat(40)]) {
    expect(isPlaceholderSecret(example), example).toBe(true);
  }
  expect(isPlaceholderSecret('q8Zr1-0vXk3nT7yLw2_Bd9GfHs4JcMpA')).toBe(false);
});

test('[CF6] a renamed variable that is still set is rejected with its new name', () => {
  expect(problemOf({ ...GOOD, BEAT_INTERVAL_MS: '500' })).toContain(
    '- BEAT_INTERVAL_MS: renamed to HEARTBEAT_INTERVAL_MS',
  );
  expect(problemOf({ ...GOOD, BEAT_TTL_MS_FILE: '/run/ttl' })).toContain('- BEAT_TTL_MS: renamed to HEARTBEAT_TTL_MS');
  expect(problemOf({ ...GOOD, BEAT_INTERVAL_MS: '' })).toBe('');
  // A variable of another service, in an environment that is shared.
  expect(problemOf({ ...GOOD, GATHER_MS: '5' })).toBe('');
});

test('[CF7] values have their names in camelCase, and those of a group have no prefix', () => {
  const redis = z.object({ ...redisSettings });
  const values = readSettings(redis, { REDIS_URL: 'redis://cache', REDIS_MAX_CONNECTIONS: '7' });
  expect(values).toMatchObject({ redisUrl: 'redis://cache', redisMaxConnections: 7 });
  expect(redisConfig(values)).toMatchObject({ url: 'redis://cache', maxConnections: 7, prefix: 'muster:' });
});

test('the help text has every variable with its default', () => {
  const help = describeSettings(schema);
  for (const name of Object.keys(schema.shape)) expect(help).toContain(name);
  expect(help).toMatch(/WAIT_MS\s+1000\s+pause \(10 ms to 5000 ms\)/);
  expect(help).toMatch(/URL\s+required\s+where/);
});

test('[CF8] a variable is required only if the schema rejects its absence', () => {
  const optional = z.object({
    LIST: field.list().transform((parts) => parts.length),
    MADE: field.listAs((parts) => new Set(parts)),
    NONE: field.url('http').optional(),
    COMPUTED: z.string().optional().meta({ fallback: 'origin of URL' }),
    ONE: field.secret({ min: 1 }),
  });
  const rows = listSettings(optional);
  expect(rows.filter(({ isRequired }) => isRequired).map(({ name }) => name)).toEqual(['ONE']);
  expect(rows.map(({ fallback }) => fallback)).toEqual(['0', undefined, undefined, 'origin of URL', undefined]);
});
