import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { sign } from 'cookie-signature';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { SECRETS, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: FaultProxy;
let postgres: FaultProxy;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openFaultProxy(stores.redisUrl));
  postgres = stack.use(await openFaultProxy(stores.databaseUrl));
  service = stack.use(
    await startService(
      { databaseUrl: postgres.url, redisUrl: redis.url, redisPrefix: stores.redisPrefix },
      { SESSION_LIMIT_PER_MINUTE: '0', FAILURE_LIMIT_PER_MINUTE: '0', REDIS_COMMAND_TIMEOUT_MS: '200' },
    ),
  );
});
afterEach(async () => {
  await Promise.all([redis.pass(), postgres.pass()]);
});
afterAll(() => stack.disposeAsync());

const login = async (at = service) =>
  (await at.service('POST', '/v1/sessions', { user_id: 'u_1' })).body as { id: string; token: string };
const withCookie = (token: string) =>
  service.call('GET', '/v1/session', {
    headers: { cookie: `session_id=${encodeURIComponent(`s:${token}`)}` },
  });
const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
/** From now on a request that queries a store is 503: the stores do not respond. */
const silenceStores = () => Promise.all([redis.blackhole(), postgres.blackhole()]);
const flipBit = (text: string, bit: number): string => {
  const bytes = Buffer.from(text, 'latin1');
  const at = bit >> 3;
  bytes[at] = bytes[at]! ^ (1 << (bit & 7));
  return bytes.toString('latin1');
};

describe('without store access', () => {
  test('[SE12] given a token with one changed bit, it is 401 without a store access', async () => {
    const { token } = await login();
    const before = await service.metric('session_token_verified_total{key="none"}');
    await silenceStores();
    let tried = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length * 8 - 1), async (bit) => {
        tried += 1;
        const { status, body } = await withCookie(flipBit(token, bit));
        expect({ status, type: body.type }).toEqual({ status: 401, type: '/problems/invalid-token' });
      }),
      { numRuns: 200 },
    );
    expect(await service.metric('session_token_verified_total{key="none"}')).toBe(before + tried);
    // The valid token is looked up, and no store responds: a fault, not a rejection.
    expect((await withCookie(token)).status).toBe(503);
  });

  test('[SE12] given a truncated token of any length, it is 401', async () => {
    const { token } = await login();
    await silenceStores();
    const lengths = Array.from({ length: token.length }, (_, length) => length);
    const answers = await Promise.all(lengths.map((length) => withCookie(token.slice(0, length))));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
  });

  test('[SE12] given a signature of another session or key, or a guessed secret, it is 401', async () => {
    const [one, other] = [await login(), await login()];
    const { body: list } = await service.bearer(one.token, 'GET', '/v1/me/sessions');
    await silenceStores();
    const content = one.token.slice(0, one.token.lastIndexOf('.'));
    const signatureOf = (token: string) => token.slice(token.lastIndexOf('.') + 1);
    const leaked = list.items.map(({ id }: { id: string }) => `${id}.${'A'.repeat(22)}.${signatureOf(one.token)}`);
    expect(leaked).toContain(`${other.id}.${'A'.repeat(22)}.${signatureOf(one.token)}`);
    const forged = [
      `${content}.${signatureOf(other.token)}`,
      sign(content, 'a-key-that-is-not-listed-0123456789abcdef'),
      sign(content, ''),
      `${content}.`,
      ...leaked,
    ];
    for (const token of forged) {
      expect((await withCookie(token)).status).toBe(401);
      expect((await service.bearer(token, 'GET', '/v1/session')).status).toBe(401);
    }
  });

  test('[SE12] given a signed token with another spelling of the id, it is 401', async () => {
    const { id, token } = await login();
    const secret = token.split('.')[1];
    await silenceStores();
    for (const spelling of [`{${id}}`, id.toUpperCase(), id.replaceAll('-', ''), ` ${id}`, `urn:uuid:${id}`]) {
      expect((await withCookie(sign(`${spelling}.${secret}`, SECRETS[0]!))).status).toBe(401);
    }
  });
});

test('[SE13] [SE59] given another spelling of an id, it is 422; upper case has the same cache key', async () => {
  const { id } = await login();
  expect((await service.service('GET', `/v1/sessions/${id.toUpperCase()}`)).body.id).toBe(id);
  for (const spelling of [`{${id}}`, id.replaceAll('-', ''), `urn:uuid:${id}`]) {
    const answer = await service.service('GET', `/v1/sessions/${encodeURIComponent(spelling)}`);
    expect(answer.status).toBe(422);
    expect(answer.body.detail).toMatchObject([{ loc: ['path', 'id'], type: 'uuid_parsing' }]);
  }
});

test('[SE12] given a signed token of an unknown session, it is 401 and creates nothing', async () => {
  await until(async () => (await login()).token, { what: 'the stores', timeoutMs: 10_000 });
  const stranger = '3f1f0c55-3d9b-4a53-9d1a-0123456789ab';
  const token = sign(`${stranger}.${'A'.repeat(22)}`, SECRETS[0]!);
  const answer = await withCookie(token);
  expect(answer.status).toBe(401);
  expect(answer.body).toMatchObject({ type: '/problems/session-ended', end_reason: 'unknown' });
  expect(await sql('SELECT 1 FROM sessions WHERE id = $1', [stranger])).toEqual([]);
  expect((await service.service('POST', '/v1/sessions', { user_id: 'u_1', session_id: stranger })).body).toMatchObject({
    detail: [{ loc: ['body', 'session_id'], type: 'extra_forbidden' }],
  });
});

test('[SE3] given a key that is not listed, its tokens are refused and no session is deleted', async () => {
  await until(async () => (await login()).token, { what: 'the stores', timeoutMs: 10_000 });
  await using replaced = await startService(stores, {
    SESSION_SECRETS: 'another-session-secret-0123456789-abcdefgh',
  });
  const { id, token } = await login();
  const refused = await replaced.bearer(token, 'GET', '/v1/session');
  expect(refused.body.type).toBe('/problems/invalid-token');
  expect(await sql('SELECT end_reason FROM sessions WHERE id = $1', [id])).toEqual([{ end_reason: null }]);
  expect((await service.bearer(token, 'GET', '/v1/session')).status).toBe(200);
});

test('[SE7] given the content of Postgres and Redis, it has no secret and no signature', async () => {
  const first = await login();
  const { body: rotated } = await service.bearer(first.token, 'POST', '/v1/session/rotate');
  const idempotent = await service.service('POST', '/v1/sessions', { user_id: 'u_1' }, { 'idempotency-key': 'dump-1' });
  const tables = await sql(
    `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
  );
  const rows = await Promise.all(
    tables.map(({ relname }) => sql(`SELECT row_to_json(t)::text AS row FROM "${relname}" t`)),
  );
  const client = new Redis(stores.redisUrl);
  const keys = await client.keys(`${stores.redisPrefix}*`);
  const values = await Promise.all(
    keys.map(async (key) => [key, await client.dump(key).then((dump) => dump?.toString())]),
  );
  const stored = await Promise.all(keys.map((key) => client.get(key).catch(() => '')));
  client.disconnect();
  const everything = JSON.stringify([rows, values, stored]);
  expect(everything).toContain(first.id);
  for (const token of [first.token, rotated.token, idempotent.body.token] as string[]) {
    const [, secret = '', mac = ''] = token.split('.');
    expect(secret).toHaveLength(22);
    expect(everything).not.toContain(secret);
    expect(everything).not.toContain(mac);
    // Postgres shows bytes in hexadecimal.
    expect(everything).not.toContain(Buffer.from(secret, 'base64url').toString('hex'));
  }
  for (const secret of SECRETS) expect(everything).not.toContain(secret);
});
