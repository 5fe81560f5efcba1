import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
beforeAll(async () => {
  service = stack.use(await startService(stores));
});
afterAll(() => stack.disposeAsync());

/** Result of a request of the tenant `shop` about the tenant `default`. */
interface Crossing {
  readonly query?: string;
  readonly json?: unknown;
  readonly expected: number | ((answer: ApiReply) => void);
}

/** Targets of the requests. */
interface Aim {
  readonly session: string;
  readonly token: string;
  readonly apiKey: string;
}

const USER = 'ann';
const nothing =
  (list: string) =>
  ({ status, body }: ApiReply) =>
    expect([status, body[list]]).toEqual([200, []]);

/** Every route that takes an API key; those without a tenant in them are about the fleet. */
const crossings = ({ session, token, apiKey }: Aim): Record<string, Crossing | 'of no tenant'> => ({
  'POST /v1/sessions': { json: { user_id: USER, tenant: 'default' }, expected: 403 },
  'GET /v1/sessions': { query: '?tenant=default', expected: 403 },
  'GET /v1/sessions/{id}': { expected: 404 },
  'DELETE /v1/sessions/{id}': { expected: 404 },
  'PATCH /v1/sessions/{id}': { json: { label: 'taken' }, expected: 404 },
  'POST /v1/sessions/{id}/step-up': { json: { aal: 2 }, expected: 404 },
  'POST /v1/sessions/{id}/upgrade': { json: { user_id: USER }, expected: 404 },
  'POST /v1/sessions/{id}/extend': { json: { seconds: 60 }, expected: 404 },
  'POST /v1/sessions/check': {
    json: { tokens: [{ token }] },
    expected: ({ body }) => expect(body.items).toMatchObject([{ active: false }]),
  },
  'POST /v1/sessions/end': {
    json: { ids: [session] },
    expected: ({ body }) => expect(body).toMatchObject({ processed: 0 }),
  },
  'POST /v1/impersonations': {
    json: { user_id: USER, actor: 'staff', reason: 'test', tenant: 'default' },
    expected: 403,
  },
  'GET /v1/users/{uid}/sessions': { query: '?tenant=default', expected: 403 },
  'DELETE /v1/users/{uid}/sessions': { query: '?tenant=default', expected: 403 },
  'PUT /v1/users/{uid}': { query: '?tenant=default', json: { disabled: true }, expected: 403 },
  'GET /v1/users/{uid}/export': { query: '?tenant=default', expected: 403 },
  'DELETE /v1/users/{uid}': { query: '?tenant=default', expected: 403 },
  'GET /v1/events': { query: '?tenant=default', expected: 403 },
  'POST /v1/api-keys': { json: { name: 'x', scopes: ['privacy'], tenant: 'default' }, expected: 403 },
  'GET /v1/api-keys': {
    expected: ({ body }) => expect(body.items.map(({ id }: { id: string }) => id)).not.toContain(apiKey),
  },
  'DELETE /v1/api-keys/{id}': { expected: 404 },
  'GET /v1/policies': 'of no tenant',
  'GET /v1/diagnostics/connections': 'of no tenant',
  // Needs issuers; the tenant of an exchange is that of its issuer.
  'POST /v1/token-exchange': 'of no tenant',
});

/** The same without a tenant: the tenant of the key applies, which has no data of this user. */
const ownTenant: Record<string, (answer: ApiReply) => void> = {
  'GET /v1/sessions': nothing('items'),
  'GET /v1/users/{uid}/sessions': nothing('items'),
  'DELETE /v1/users/{uid}/sessions': ({ body }) => expect(body.ended).toBe(0),
  'PUT /v1/users/{uid}': ({ body }) => expect(body.ended).toBe(0),
  'GET /v1/users/{uid}/export': nothing('sessions'),
  'DELETE /v1/users/{uid}': ({ body }) => expect(body.sessions).toBe(0),
};

test('[SE35] given the key of one tenant, when it names another, its users, sessions or keys, then every route refuses', async () => {
  const opened = await service.service('POST', '/v1/sessions', { user_id: USER });
  const foreign = await service.service('POST', '/v1/api-keys', { name: 'other', scopes: ['privacy'] });
  const { body: scoped } = await service.call('GET', '/openapi.json');
  const scopes = ['sessions:create', 'sessions:read', 'sessions:write', 'sessions:end', 'sessions:check'];
  const more = ['sessions:search', 'sessions:admin', 'sessions:impersonate', 'events:read', 'keys:admin'];
  const wanted = { name: 'shop', scopes: [...scopes, ...more, 'privacy', 'ops'], tenant: 'shop' };
  const { key } = (await service.service('POST', '/v1/api-keys', wanted)).body;

  const table = crossings({ session: opened.body.id, token: opened.body.token, apiKey: foreign.body.id });
  const routes = Object.entries(scoped.paths as Record<string, Record<string, { security?: object[] }>>)
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, route]) => ({ path, method, route })))
    .filter(({ route }) => route.security?.some((scheme) => 'serviceKey' in scheme))
    .map(({ path, method }) => `${method.toUpperCase()} ${path}`);
  expect(Object.keys(table).toSorted()).toEqual(routes.toSorted());

  const ask = (name: string, query: string, json: unknown): Promise<ApiReply> => {
    const [method = '', path = ''] = name.split(' ');
    const id = path.startsWith('/v1/api-keys') ? foreign.body.id : opened.body.id;
    return service.bearer(key, method, path.replace('{id}', id).replace('{uid}', USER) + query, json);
  };
  for (const [name, crossing] of Object.entries(table)) {
    if (crossing === 'of no tenant') continue;
    const { query = '', json, expected } = crossing;
    const answer = await ask(name, query, json);
    if (typeof expected === 'number') expect([name, answer.status]).toEqual([name, expected]);
    else expected(answer);
    ownTenant[name]?.(await ask(name, '', json));
  }
  const filter = { filter: { user_id: USER }, tenant: 'default' };
  expect((await service.bearer(key, 'POST', '/v1/sessions/end', filter)).status).toBe(403);
  // Nothing of it had an effect, and the operator of all tenants sees each.
  const { body } = await service.service('GET', `/v1/sessions/${opened.body.id}`);
  expect(body).toMatchObject({ tenant: 'default', label: null, ended_at: null, auth: { aal: 1 } });
  const keys = (await service.service('GET', '/v1/api-keys')).body.items;
  expect(keys.find(({ id }: { id: string }) => id === foreign.body.id)).toMatchObject({ revoked_at: null });
});
