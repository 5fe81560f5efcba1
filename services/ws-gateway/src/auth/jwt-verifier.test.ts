import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Jwks } from '@muster/kit/jwks';
import type { JwtKey } from '@muster/kit/jwt';
import { AppError } from '@muster/protocol/errors';
import { createFakeClock } from '@muster/testkit/fake-clock';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { errors, SignJWT } from 'jose';
import { beforeEach, describe, expect, test } from 'vitest';
import { hmacKey, publicKeys } from './jwt-keys.ts';
import { createJwtVerifier, isJwt, type JwtRules } from './jwt-verifier.ts';

const SECRET = 'a-secret-of-the-application-0123456789';
const LONG_SECRET = SECRET.padEnd(64, '*');
const clock = createFakeClock();
const now = () => Math.floor(clock.now() / 1000);
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');
const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString();
let rules: JwtRules;
beforeEach(() => {
  rules = { keys: [hmacKey(SECRET)], audience: [], issuer: undefined };
});

const verifier = (more: { published?: Jwks } = {}) =>
  createJwtVerifier({
    clock,
    log: createInMemoryLog(),
    rules: () => rules,
    published: undefined,
    ...more,
  });
const sign = (
  claims: Record<string, unknown> = {},
  {
    alg = 'HS256',
    key = createSecretKey(Buffer.from(SECRET)),
    ...header
  }: Record<string, unknown> & { alg?: string; key?: KeyObject } = {},
) => new SignJWT({ sub: 'ann', ...claims }).setProtectedHeader({ alg, ...header }).sign(key);
const encode = (part: unknown) =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
/** A token with these very bytes, signed as HS256 with `secret`. */
const forge = (header: unknown, payload: unknown, secret: string | Buffer = SECRET) => {
  const signed = `${encode(header)}.${encode(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
};
const outcome = async (token: string, on = verifier()): Promise<string> => {
  const verified = await on.verify(token);
  return verified.ok ? 'accepted' : verified.fault;
};

describe('form', () => {
  test('[JT1] given application tokens, session tokens and tickets, when they are presented, then their form distinguishes them', async () => {
    expect(isJwt(await sign())).toBe(true);
    expect(isJwt(`${encode({ alg: 'none' })}.${encode({ sub: 'ann' })}.`)).toBe(true);
    const session =
      'e9a1b2c3-1234-4abc-8def-0123456789ab.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ';
    for (const other of [session, `t_${'a'.repeat(43)}`, '', 'ey', 'ey.ey', 'eyJ.a.b.c', 'eyJ.ä.b', ' eyJ.a.b'])
      expect(isJwt(other), other).toBe(false);
  });

  test('[JT4] given a malformed or too long token, when it is verified, then it is rejected without parsing', async () => {
    for (const bad of ['ey..', 'eyJ.eyJ.', `${encode('{"alg":')}.e30.x`, `${encode('[]')}.e30.x`])
      expect(await outcome(bad), bad).toBe('malformed');
    expect(await outcome(forge({ alg: 'HS256' }, '"text"'))).toBe('malformed');
    expect(await outcome(forge({ alg: 'HS256' }, '{"sub":'))).toBe('malformed');
    expect(await outcome(await sign({ info: 'x'.repeat(20_000) }))).toBe('too_long');
  });
});

describe('keys and algorithms', () => {
  test('[JT2] given a key, when tokens are verified, then only the algorithms of its kind and size are accepted', async () => {
    const tokens: [JwtKey[], KeyObject, string[], string[]][] = [
      [[hmacKey(SECRET)], createSecretKey(Buffer.from(SECRET)), ['HS256'], ['HS384', 'HS512']],
      [[hmacKey(LONG_SECRET)], createSecretKey(Buffer.from(LONG_SECRET)), ['HS256', 'HS384', 'HS512'], []],
      [publicKeys(pem(rsa.publicKey)), rsa.privateKey, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'], []],
      [publicKeys(pem(ec.publicKey)), ec.privateKey, ['ES256'], []],
      [publicKeys(pem(ed.publicKey)), ed.privateKey, ['EdDSA', 'Ed25519'], []],
    ];
    for (const [keys, key, good, bad] of tokens) {
      rules = { ...rules, keys };
      for (const alg of good) expect(await outcome(await sign({}, { alg, key })), alg).toBe('accepted');
      for (const alg of bad)
        expect(await outcome(await sign({}, { alg, key: createSecretKey(Buffer.from(LONG_SECRET)) })), alg).toBe(
          'algorithm',
        );
    }
  });

  test('[JT12] given the algorithm none, or a public key as secret, when a token is verified, then it is rejected', async () => {
    rules = { ...rules, keys: publicKeys(pem(rsa.publicKey)) };
    for (const alg of ['none', 'None', 'NONE', '', 'HS256', 'dir', 'constructor'])
      expect(await outcome(forge({ alg }, { sub: 'ann' }, pem(rsa.publicKey))), alg).toBe('algorithm');
    expect(await outcome(`${encode({ alg: 'none' })}.${encode({ sub: 'ann' })}.`)).toBe('algorithm');
    expect(await outcome(forge({ alg: 7 }, { sub: 'ann' }))).not.toBe('accepted');
    // Nor does a token bring its own key.
    const jwk = ec.publicKey.export({ format: 'jwk' });
    expect(await outcome(await sign({}, { alg: 'ES256', key: ec.privateKey, jwk, jku: 'https://evil.example' }))).toBe(
      'algorithm',
    );
    expect(await outcome(forge({ alg: 'HS256', crit: ['exp'], exp: 1 }, { sub: 'ann' }))).not.toBe('accepted');
  });

  test('[JT3] given two secrets or public keys, when a token is signed with either, then it is accepted, and with a third it is rejected', async () => {
    const second = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    rules = {
      ...rules,
      keys: [hmacKey(LONG_SECRET), hmacKey(SECRET), ...publicKeys(pem(ec.publicKey) + pem(second.publicKey))],
    };
    for (const secret of [SECRET, LONG_SECRET])
      expect(await outcome(await sign({}, { key: createSecretKey(Buffer.from(secret)) }))).toBe('accepted');
    for (const { privateKey } of [ec, second])
      expect(await outcome(await sign({}, { alg: 'ES256', key: privateKey }))).toBe('accepted');
    expect(await outcome(await sign({}, { key: createSecretKey(Buffer.alloc(32, 7)) }))).toBe('signature');
    rules = { ...rules, keys: [hmacKey(LONG_SECRET)] };
    expect(await outcome(await sign())).toBe('signature');
  });

  test('[JT13] given a malformed, private or weak public key, when it is read, then it is rejected with the problem', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const other = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    const secret = ec.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(() => publicKeys('hello')).toThrow('PEM');
    expect(() => publicKeys(secret)).toThrow('private key');
    expect(() => publicKeys(pem(weak.publicKey))).toThrow('2048');
    expect(() => publicKeys(pem(other.publicKey))).toThrow('P-256');
    expect(() => publicKeys('-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----')).toThrow('malformed key');
    expect(publicKeys(pem(ec.publicKey).replaceAll('\n', '\\n'))).toHaveLength(1);
  });
});

describe('claims', () => {
  test('[JT14] [JT15] [JT16] [JT17] given another typ, aud, iss or type of claim, when a token is verified, then it is rejected', async () => {
    rules = { ...rules, audience: ['chat', 'web'], issuer: 'https://app.example' };
    const good = { aud: ['x', 'web'], iss: 'https://app.example' };
    expect(await outcome(await sign(good, { typ: 'JWT' }))).toBe('accepted');
    expect(await outcome(await sign(good, { typ: 'application/at+jwt' }))).toBe('accepted');
    expect(await outcome(await sign(good, { typ: 'logout+jwt' }))).toBe('type');
    expect(await outcome(await sign({ ...good, aud: 'other' }))).toBe('audience');
    expect(await outcome(await sign({ iss: good.iss }))).toBe('audience');
    expect(await outcome(await sign({ ...good, iss: 'https://app.example/' }))).toBe('issuer');
    expect(await outcome(await sign({ ...good, nbf: now() + 61 }))).toBe('not_yet');
    expect(await outcome(await sign({ ...good, nbf: now() + 59 }))).toBe('accepted');
    for (const claim of ['exp', 'nbf', 'iat'])
      expect(await outcome(forge({ alg: 'HS256' }, { ...good, sub: 'ann', [claim]: '9999999999' })), claim).toBe(
        'claims',
      );
  });

  test('[JT18] given a token with exp, when that second is reached, then it is expired', async () => {
    expect(await outcome(await sign({ exp: now() + 1 }))).toBe('accepted');
    expect(await outcome(await sign({ exp: now() }))).toBe('expired');
    expect(await outcome(await sign({ exp: now() - 86_400 }))).toBe('expired');
    // The expiry of a token with an invalid signature is not reported.
    expect(await outcome(forge({ alg: 'HS256' }, { exp: 1 }, 'another'))).toBe('signature');
  });

  test('[JT19] given a claim that occurs twice, when the token is verified, then the last occurrence is used', async () => {
    const verified = await verifier().verify(forge({ alg: 'HS256' }, '{"sub":"ann","sub":"bob"}'));
    expect(verified).toMatchObject({ ok: true, claims: { sub: 'bob' } });
  });
});

describe('published keys', () => {
  const finding = (find: Jwks['find']) => verifier({ published: { find } });
  test('[JT5] [JT21] given published keys, when a key is not listed or not available, then the token is invalid or unverified', async () => {
    const token = await sign({}, { alg: 'ES256', key: ec.privateKey, kid: 'k1' });
    expect(
      await outcome(
        token,
        finding(async () => ec.publicKey as never),
      ),
    ).toBe('accepted');
    expect(
      await outcome(
        token,
        finding(() => Promise.reject(new errors.JWKSNoMatchingKey())),
      ),
    ).toBe('unknown_key');
    expect(
      await outcome(
        token,
        finding(() => Promise.reject(new AppError('ISSUER_UNAVAILABLE'))),
      ),
    ).toBe('unavailable');
    expect(
      await outcome(
        token,
        finding(() => Promise.reject(new Error('a bug'))),
      ),
    ).toBe('unavailable');
  });

  test('[JT23] given a token signed with a secret, when it is verified, then published keys are not queried', async () => {
    let lookups = 0;
    const keys = finding(async () => {
      lookups += 1;
      return createSecretKey(Buffer.from(LONG_SECRET)) as never;
    });
    expect(await outcome(await sign({}, { key: createSecretKey(Buffer.from(LONG_SECRET)) }), keys)).toBe('signature');
    expect(lookups).toBe(0);
  });
});
