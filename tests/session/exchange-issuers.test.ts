import { readConfig } from '@muster/session-service/config';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exchangeAt, newUser } from './exchange-fixture.ts';
import { CLIENT_ID, startIssuer, type TestIssuer } from './fake-issuer.ts';
import { environment, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let issuer: TestIssuer;
let service: TestService;

const issuers = () => JSON.stringify([{ name: 'acme', issuer: issuer.url, audience: [CLIENT_ID] }]);

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  issuer = stack.use(await startIssuer());
  service = stack.use(await startService(stores, { OIDC_ISSUERS: issuers(), FAILURE_LIMIT_PER_MINUTE: '100000' }));
});
afterAll(() => stack.disposeAsync());

const exchange = (token: string, more: object = {}, headers: Record<string, string> = {}, at = service) =>
  exchangeAt(at, token, more, headers);

describe('keys', () => {
  test('[EX8] given a thousand unknown key ids, there is at most one fetch', async () => {
    const { privateKey } = await generateKeyPair('RS256');
    await exchange(await issuer.idToken());
    const before = issuer.keyRequests();
    const tokens = await Promise.all(
      Array.from({ length: 1000 }, (_, at) => issuer.idToken({ key: privateKey, header: { kid: `k-${at}` } })),
    );
    const statuses = new Set<number>();
    for (let at = 0; at < tokens.length; at += 50) {
      const answers = await Promise.all(tokens.slice(at, at + 50).map((token) => exchange(token)));
      for (const { status } of answers) statuses.add(status);
    }
    expect(statuses).toEqual(new Set([401]));
    expect(issuer.keyRequests() - before).toBeLessThanOrEqual(1);
  });

  test.each(['error', 'garbage', 'hang'] as const)(
    '[EX9] given an issuer with a fault (%s), the response is 503, not a refusal',
    async (how) => {
      await using other = await startIssuer();
      await using fresh = await startService(stores, {
        OIDC_ISSUERS: JSON.stringify([{ name: 'other', issuer: other.url, audience: [CLIENT_ID] }]),
      });
      other.behave(how);
      const token = await other.idToken({ claims: { sub: newUser() } });
      const answers = await Promise.all(Array.from({ length: 20 }, () => exchange(token, {}, {}, fresh)));
      expect(new Set(answers.map(({ body }) => body.type))).toEqual(new Set(['/problems/issuer-unavailable']));
      expect(Number(answers[0]!.headers.get('retry-after'))).toBeGreaterThan(0);
    },
  );

  test('[EX8] given a new key in the configured key set, it is found', async () => {
    await using other = await startIssuer();
    const late = await other.addKey('late', 'ES384');
    await using fresh = await startService(stores, {
      OIDC_ISSUERS: JSON.stringify([
        {
          name: 'other',
          issuer: other.url,
          audience: [CLIENT_ID],
          jwks_uri: `${other.url}/jwks`,
          algorithms: ['ES384'],
          user_id_claim: 'oid',
          user_id_prefix: '',
          tenant: 'shop',
        },
      ]),
    });
    const token = await other.idToken({
      algorithm: 'ES384',
      key: late,
      header: { kid: 'late' },
      claims: { oid: 42 },
    });
    expect((await exchange(token, {}, {}, fresh)).body).toMatchObject({ user_id: '42', tenant: 'shop' });
    expect((await exchange(await other.idToken(), {}, {}, fresh)).body.reason).toBe('algorithm');
    const noId = await other.idToken({ algorithm: 'ES384', key: late, header: { kid: 'late' } });
    expect((await exchange(noId, {}, {}, fresh)).body.reason).toBe('claims');
  });
});

describe('faults', () => {
  test('[EX9] given no Redis, the response is 503 and the token stays usable', async () => {
    await using redis = await openDedicatedRedis();
    await using own = await startService(
      { databaseUrl: stores.databaseUrl, redisUrl: redis.url, redisPrefix: 't:' },
      { OIDC_ISSUERS: issuers() },
    );
    const token = await issuer.idToken({ claims: { sub: newUser() } });
    await redis.stop();
    const answer = await exchange(token, {}, {}, own);
    expect(answer.body).toMatchObject({ status: 503, type: '/problems/redis-unavailable' });
    await redis.start();
    const until = Date.now() + 10_000;
    let later = await exchange(token, {}, {}, own);
    while (later.status === 503 && Date.now() < until) later = await exchange(token, {}, {}, own);
    expect(later.status).toBe(200);
  });

  test('[EX10] given no issuers, the route is 404', async () => {
    await using plain = await startService(stores);
    expect((await exchange('x', {}, {}, plain)).status).toBe(404);
  });

  test('[EX10] given an invalid configuration, the refusal has its position and no value', () => {
    const start = (text: string, more: NodeJS.ProcessEnv = {}) =>
      readConfig({ ...environment(stores), OIDC_ISSUERS: text, ...more });
    const one = { name: 'acme', issuer: 'https://id.example', audience: ['x'] };
    expect(start(JSON.stringify([one])).oidcIssuers).toHaveLength(1);
    for (const [text, place] of [
      ['{', /OIDC_ISSUERS: /],
      ['{}', /OIDC_ISSUERS: /],
      [JSON.stringify([{ ...one, audience: [] }]), /OIDC_ISSUERS: 0\.audience/],
      [JSON.stringify([{ ...one, algorithms: ['HS256'] }]), /OIDC_ISSUERS: 0\.algorithms\.0/],
      [JSON.stringify([{ ...one, algorithms: ['none'] }]), /OIDC_ISSUERS: 0\.algorithms\.0/],
      [JSON.stringify([{ ...one, issuer: 'ftp://id.example' }]), /OIDC_ISSUERS: 0\.issuer/],
      [JSON.stringify([one, { ...one, issuer: 'https://two.example' }]), /one name/],
      [JSON.stringify([one, { ...one, name: 'b' }]), /comes twice/],
    ] as const) {
      expect(() => start(text), text).toThrow(place);
      expect(() => start(text), text).not.toThrow(/example/);
    }
    const production = { NODE_ENV: 'production', PUBLIC_URL: 'https://app.example.com' };
    expect(() => start(JSON.stringify([{ ...one, issuer: 'http://id.example' }]), production)).toThrow(
      /OIDC_ISSUERS: acme: https URLs are required/,
    );
    expect(() => start(JSON.stringify([{ ...one, jwks_uri: 'http://id.example/k' }]), production)).toThrow(
      /OIDC_ISSUERS: acme: https URLs are required/,
    );
  });

  test('[EX11] given exchanges, they are counted by reason and no token is logged', async () => {
    const token = await issuer.idToken({ claims: { aud: 'somebody-else' } });
    const before = await service.metric('session_token_exchanges_total');
    await exchange(token);
    expect((await service.metric('session_token_exchanges_total')) - before).toBe(1);
    const text = await (await fetch(`${service.opsUrl}/metrics`)).text();
    expect(text).toMatch(/^session_token_exchanges_total\{.*result="audience"/m);
    expect(await service.metric('session_issuer_key_fetches_total')).toBeGreaterThan(0);
    expect(JSON.stringify(service.log.lines)).not.toContain(token.slice(0, 40));
  });
});
