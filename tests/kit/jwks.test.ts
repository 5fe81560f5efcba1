import { createJwks, type JwksDeps } from '@muster/kit/jwks';
import { createFakeClock } from '@muster/testkit/fake-clock';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { exportJWK, generateKeyPair } from 'jose';
import { beforeEach, expect, test } from 'vitest';

const ISSUER = 'https://id.example/';
const JWKS = 'https://keys.example/set';
let published: Record<string, unknown>;
let asked: string[];
let clock: ReturnType<typeof createFakeClock>;

const jwk = async (kid: string) => ({
  ...(await exportJWK((await generateKeyPair('ES256')).publicKey)),
  kid,
});
const keysFor = (more: Partial<JwksDeps> = {}) =>
  createJwks({
    clock,
    log: createInMemoryLog(),
    issuer: { name: 'acme', issuer: ISSUER, jwksUri: undefined },
    requireHttps: true,
    fetchJson: async (url) => {
      asked.push(url);
      if (published[url] === undefined) throw new Error('nothing there');
      return published[url];
    },
    onFetched: () => {},
    ...more,
  });
const header = (kid: string | undefined) => ({ alg: 'ES256', ...(kid === undefined ? {} : { kid }) });
const outcome = (keys: ReturnType<typeof keysFor>, kid: string | undefined) =>
  keys.find(header(kid)).then(
    () => 'found',
    (error: { code: string }) => error.code,
  );

beforeEach(async () => {
  clock = createFakeClock();
  asked = [];
  published = {
    'https://id.example/.well-known/openid-configuration': { issuer: ISSUER, jwks_uri: JWKS },
    [JWKS]: { keys: [await jwk('a')] },
  };
});

test('[EX8] keys are discovered once, and looked at again after ten minutes', async () => {
  const keys = keysFor();
  const answers = await Promise.all(Array.from({ length: 10 }, () => outcome(keys, 'a')));
  expect(new Set(answers)).toEqual(new Set(['found']));
  expect(asked).toEqual(['https://id.example/.well-known/openid-configuration', JWKS]);
  clock.advance(10 * 60_000);
  await outcome(keys, 'a');
  expect(asked).toHaveLength(2);
  clock.advance(1);
  await outcome(keys, 'a');
  expect(asked).toHaveLength(4);
});

test('[EX8] given unknown key ids, then the JWKS is fetched at most once per cool-down, and a new key is found afterwards it', async () => {
  const keys = keysFor({ issuer: { name: 'acme', issuer: ISSUER, jwksUri: JWKS } });
  expect(await outcome(keys, 'a')).toBe('found');
  published[JWKS] = { keys: [await jwk('a'), await jwk('b')] };
  for (let at = 0; at < 1000; at += 1) expect(await outcome(keys, `k${at}`)).toBe('ERR_JWKS_NO_MATCHING_KEY');
  expect(await outcome(keys, 'b')).toBe('ERR_JWKS_NO_MATCHING_KEY');
  expect(asked).toHaveLength(1);
  clock.advance(30_000);
  expect(await outcome(keys, 'b')).toBe('found');
  expect(asked).toHaveLength(2);
  expect(await outcome(keys, undefined)).toBe('ERR_JWKS_NO_MATCHING_KEY');
});

test('[EX9] given an unavailable issuer, then it is queried every five seconds and its keys stay valid for an hour', async () => {
  const keys = keysFor({ issuer: { name: 'acme', issuer: ISSUER, jwksUri: JWKS } });
  const set = published[JWKS];
  delete published[JWKS];
  for (let at = 0; at < 10; at += 1) expect(await outcome(keys, 'a')).toBe('ISSUER_UNAVAILABLE');
  expect(asked).toHaveLength(1);
  published[JWKS] = set;
  clock.advance(5_000);
  expect(await outcome(keys, 'a')).toBe('found');
  delete published[JWKS];
  clock.advance(59 * 60_000);
  expect(await outcome(keys, 'a')).toBe('found');
  // The key may exist: the keys of the issuer are unavailable.
  expect(await outcome(keys, 'b')).toBe('ISSUER_UNAVAILABLE');
  clock.advance(2 * 60_000);
  expect(await outcome(keys, 'a')).toBe('ISSUER_UNAVAILABLE');
});

test('[EX9] what is not a key set, or of another issuer, or not on https, is rejected', async () => {
  const discovery = 'https://id.example/.well-known/openid-configuration';
  const spoil: [string, unknown][] = [
    [JWKS, null],
    [JWKS, []],
    [JWKS, { keys: 'x' }],
    [JWKS, { keys: ['x'] }],
    [discovery, null],
    [discovery, { issuer: 'https://evil.example', jwks_uri: JWKS }],
    [discovery, { issuer: ISSUER }],
    [discovery, { issuer: ISSUER, jwks_uri: 'http://keys.example/set' }],
  ];
  const before = { ...published, 'http://keys.example/set': published[JWKS] };
  for (const [url, answer] of spoil) {
    published = { ...before, [url]: answer };
    expect(await outcome(keysFor(), 'a'), JSON.stringify([url, answer])).toBe('ISSUER_UNAVAILABLE');
  }
});
