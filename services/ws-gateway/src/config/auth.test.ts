import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfig } from './index.ts';

const SECRET = 'kq3v9z1m7x5c2b8n4a6s0d1f2g3h4j5k';
const good = {
  NODE_ENV: 'production',
  REDIS_URL: 'redis://cache',
  SESSION_SECRETS: 'Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdo',
  SESSION_SERVICE_URL: 'http://sessions:9100',
  INTERNAL_API_KEY: 'int_0a1b2c3d4e5f60718293a4b5',
  PUBLIC_URL: 'https://app.example.com/',
};

test('[AN8] given the default configuration, when it is read, then tokens, anonymous clients and CLIENT_INSECURE are off', () => {
  expect(readConfig(good).access).toEqual({
    tokens: { keys: [], audience: [], issuer: undefined },
    jwksUrl: undefined,
    allowsAnonymous: false,
    isInsecure: false,
    callbacks: { urls: {}, secret: '', timeoutMs: 1_000, maxInFlight: 256 },
  });
});

test('[AN7] given CLIENT_INSECURE, when it is read in production, then it is rejected with the remedy', () => {
  expect(() => readConfig({ ...good, CLIENT_INSECURE: 'true' })).toThrow(/CLIENT_INSECURE: .*NODE_ENV=development/);
  expect(readConfig({ ...good, NODE_ENV: 'development', CLIENT_INSECURE: 'true' }).access.isInsecure).toBe(true);
});

test('[JT3] [JT13] given keys in variables or files, when they are read, then valid keys are used and invalid keys are reported without their text', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const file = join(mkdtempSync(join(tmpdir(), 'muster-keys-')), 'keys.pem');
  writeFileSync(file, publicKey.export({ type: 'spki', format: 'pem' }));
  const keys = {
    TOKEN_HMAC_SECRET: SECRET,
    TOKEN_HMAC_PREVIOUS_SECRET: `${SECRET}x`,
    TOKEN_PUBLIC_KEYS_FILE: file,
  };
  const { access } = readConfig({ ...good, ...keys, TOKEN_AUDIENCE: 'a, b', TOKEN_ISSUER: 'i' });
  expect(access.tokens.keys.map(({ algorithms }) => algorithms)).toEqual([['HS256'], ['HS256'], ['EdDSA', 'Ed25519']]);
  expect(access.tokens).toMatchObject({ audience: ['a', 'b'], issuer: 'i' });
  const bad: [NodeJS.ProcessEnv, string][] = [
    [{ TOKEN_HMAC_SECRET: 'short' }, 'TOKEN_HMAC_SECRET: expected at least 32 bytes'],
    [{ TOKEN_HMAC_SECRET: 'change-me-change-me-change-me-change-me' }, 'TOKEN_HMAC_SECRET: an example value'],
    [{ TOKEN_HMAC_PREVIOUS_SECRET: SECRET }, 'TOKEN_HMAC_PREVIOUS_SECRET'],
    [{ TOKEN_PUBLIC_KEYS: SECRET }, 'TOKEN_PUBLIC_KEYS: expected one or more public keys in PEM'],
    [{ TOKEN_JWKS_URL: 'http://keys.example/set' }, 'TOKEN_JWKS_URL: expected an https URL'],
    [{ TOKEN_JWKS_URL: 'keys' }, 'TOKEN_JWKS_URL'],
  ];
  for (const [env, problem] of bad) {
    expect(() => readConfig({ ...good, ...env }), problem).toThrow(problem);
    expect(() => readConfig({ ...good, ...env })).not.toThrow(SECRET);
  }
});

test('[AQ7] [AQ19] given a callback without a secret, or an option without its URL, when the configuration is read, then it is rejected', () => {
  const url = { CALLBACK_RPC_URL: 'http://app:3000/rpc' };
  expect(() => readConfig({ ...good, ...url })).toThrow('CALLBACK_SECRET: required with a callback URL');
  const { callbacks } = readConfig({ ...good, ...url, CALLBACK_SECRET: SECRET }).access;
  expect(callbacks).toMatchObject({ urls: { rpc: url.CALLBACK_RPC_URL }, secret: SECRET });
  const file = join(mkdtempSync(join(tmpdir(), 'muster-groups-')), 'groups.json');
  const groups = {
    without_namespace: { publish_callback: true },
    namespaces: [{ name: 'x', subscribe_callback: true }],
  };
  writeFileSync(file, JSON.stringify(groups));
  const withCallbacks = { ...good, CALLBACK_SECRET: SECRET, GROUPS_FILE: file };
  expect(() => readConfig(withCallbacks)).toThrow(
    /without_namespace: publish_callback requires[\s\S]*x: subscribe_callback requires/,
  );
  const urls = { CALLBACK_PUBLISH_URL: 'http://app:3000/p', CALLBACK_SUBSCRIBE_URL: 'https://app:3000/s' };
  expect(readConfig({ ...withCallbacks, ...urls }).groups?.withoutNamespace.publishCallback).toBe(true);
});

test('[SZ5] [SZ6] given a send buffer, when the configuration is read, then the largest publication is a quarter of it and at most half', () => {
  const sizeOf = (env: NodeJS.ProcessEnv) => readConfig({ ...good, ...env }).maxPublicationBytes;
  expect(sizeOf({})).toBe(262_144);
  expect(sizeOf({ MAX_SEND_BUFFER_BYTES: '65536' })).toBe(16_384);
  expect(sizeOf({ MAX_SEND_BUFFER_BYTES: '65536', MAX_PUBLICATION_BYTES: '32768' })).toBe(32_768);
  expect(() => sizeOf({ MAX_SEND_BUFFER_BYTES: '65536', MAX_PUBLICATION_BYTES: '32769' })).toThrow(
    /MAX_PUBLICATION_BYTES: expected at most half of MAX_SEND_BUFFER_BYTES \(65536\), got 32769/,
  );
});
