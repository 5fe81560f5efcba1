import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import {
  commonSettings,
  describeSettings,
  field,
  isOrigin,
  isPlaceholderSecret,
  readSettings,
} from './config.ts';

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

test('[CF1] all problems are named at once and no value is shown', () => {
  const problem = problemOf({
    URL: 'http://hunter2',
    SECRETS: 'hunter2',
    WAIT_MS: 'soon',
    PORT: '99999',
    GUESTS: 'perhaps',
  });
  for (const name of ['URL', 'SECRETS', 'WAIT_MS', 'PORT', 'GUESTS'])
    expect(problem).toContain(`- ${name}: `);
  expect(problem).not.toMatch(/hunter2|soon|99999|perhaps/);
  expect(problemOf({})).toContain('- URL: is required');
});

test('[CF2] NAME_FILE stands for NAME', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'config-')), 'secret');
  writeFileSync(file, `${GOOD.SECRETS}\n`);
  expect(readSettings(schema, { URL: GOOD.URL, SECRETS_FILE: file }).SECRETS).toEqual([GOOD.SECRETS]);
  expect(problemOf({ ...GOOD, SECRETS_FILE: file })).toContain('not both');
  expect(problemOf({ URL: GOOD.URL, SECRETS_FILE: '/nonexistent/secret' })).toContain('ENOENT');
});

test('[CF3] empty is absent, and strangers are ignored', () => {
  const read = readSettings(schema, { ...GOOD, WAIT_MS: '', PATH: '/bin', ORIGINS: '' });
  expect(read.WAIT_MS).toBe(1_000);
  expect(read.ORIGINS).toBeUndefined();
  expect(read).not.toHaveProperty('PATH');
});

test('[CF4] numbers are whole and bounded', () => {
  for (const wrong of ['1.5', '-1', '1e3', '0x10', ' 5', '9', '5001', '']) {
    const problem = problemOf({ ...GOOD, WAIT_MS: wrong });
    expect(problem === '', wrong).toBe(wrong === '');
  }
  expect(readSettings(schema, { ...GOOD, WAIT_MS: '10' }).WAIT_MS).toBe(10);
});

test('[CF5] an origin is scheme, host and port, nothing else', () => {
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
  expect(
    ['on', 'TRUE', '1', 'yes'].map((GUESTS) => readSettings(schema, { ...GOOD, GUESTS }).GUESTS),
  ).toEqual(Array(4).fill(true));
  expect(readSettings(schema, { ...GOOD, GUESTS: 'no' }).GUESTS).toBe(false);
});

test('example secrets are recognised', () => {
  for (const example of [
    'change-me-please-change-me-please',
    'this-is-an-example-secret-0123456',
    'a'.repeat(40),
  ]) {
    expect(isPlaceholderSecret(example), example).toBe(true);
  }
  expect(isPlaceholderSecret('q8Zr1-0vXk3nT7yLw2_Bd9GfHs4JcMpA')).toBe(false);
});

test('the help text has every variable with its default', () => {
  const help = describeSettings(schema);
  for (const name of Object.keys(schema.shape)) expect(help).toContain(name);
  expect(help).toMatch(/WAIT_MS\s+1000\s+pause/);
  expect(help).toMatch(/URL\s+required\s+where/);
});
