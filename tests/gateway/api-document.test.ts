import { API_RESULTS } from '@muster/ws-gateway/http/api-schemas';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { operationsOf, requestFor } from '../kit/openapi-requests.ts';
import { connected, SERVER_KEY, sdk, useFleet } from './fixture.ts';

const fleet = useFleet();

const post = async (path: string, body: string) => {
  const answer = await fetch(fleet.gateway.url + path, {
    method: 'POST',
    headers: { 'x-api-key': SERVER_KEY },
    body,
  });
  return { status: answer.status, text: await answer.text() };
};
// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const call = async (method: string, params: object): Promise<any> =>
  JSON.parse((await post(`/api/${method}`, JSON.stringify(params))).text);
const readDocument = async () => (await fetch(`${fleet.gateway.url}/api/openapi.json`)).json();

test('[AP10] [AP39] given the document, when it is read, then it has every method, and its page loads only resources of the gateway', async () => {
  const document = await readDocument();
  const documented = Object.keys(document.paths).map((path) => path.replace('/api/', ''));
  for (const method of documented) {
    // `rpc` has no application here, and returns the code of an unknown method.
    if (method !== 'rpc') expect((await call(method, {})).error?.code, method).not.toBe(104);
  }
  expect(documented).toContain('publish');
  expect(document.components.securitySchemes).toEqual({
    serverKey: expect.objectContaining({ in: 'header', name: 'X-API-Key' }),
  });
  const page = await (await fetch(`${fleet.gateway.url}/api/docs`)).text();
  for (const [, path] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
    expect(path).toMatch(/^\/api\/docs\//);
    expect((await fetch(fleet.gateway.url + path)).status).toBe(200);
  }
  expect(await (await fetch(`${fleet.gateway.url}/api/docs/start.js`)).text()).toContain("'/api/openapi.json'");
});

test('[AP10] [TNW14] given the document, when it is read, then every method has the tenant parameter and rejects an invalid tenant', async () => {
  const { paths } = await readDocument();
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  for (const [path, { post: operation }] of Object.entries<any>(paths)) {
    const { tenant } = operation.requestBody.content['application/json'].schema.properties;
    const mayBeAll = JSON.stringify(tenant).includes('"*"');
    const overTenants = ['/api/channels', '/api/connections', '/api/info'];
    expect([path, mayBeAll]).toEqual([path, overTenants.includes(path)]);
    const { error } = await call(path.replace('/api/', ''), { tenant: 'no tenant' });
    expect([path, error?.code, error?.message]).toEqual([path, 107, expect.stringContaining('`tenant`')]);
  }
});

test('[AP40] given a call of each method, when it returns, then the answer has the documented shape', async () => {
  const { body } = await fleet.sessions.service('POST', '/v1/sessions', {
    user_id: 'u_doc',
    transport: 'bearer',
  });
  const client = await connected(sdk(fleet.gateway, { token: body.token }));
  const subscription = client.newSubscription('doc');
  subscription.subscribe();
  await subscription.ready(5_000);
  const calls: Partial<Record<keyof typeof API_RESULTS, object>> = {
    publish: { channel: 'doc', data: { n: 1 }, tags: { a: 'b' } },
    broadcast: { channels: ['doc', ''], data: 1 },
    presence: { channel: 'doc' },
    presence_stats: { channel: 'doc' },
    history: { channel: 'doc', limit: -1 },
    channels: {},
    connections: {},
    info: {},
    unsubscribe: { user: 'u_doc', channel: 'doc' },
    batch: { commands: [{ publish: { channel: 'doc', data: 1 } }, { info: {} }, { dance: {} }] },
    history_remove: { channel: 'doc' },
    disconnect: { user: 'u_doc' },
  };
  for (const [method, params] of Object.entries(calls)) {
    const answer = await call(method, params);
    const result = method === 'batch' ? answer : answer.result;
    const schema = strict(API_RESULTS[method as keyof typeof API_RESULTS]);
    expect(schema.safeParse(result).error?.issues ?? [], `${method} ${JSON.stringify(answer)}`).toEqual([]);
  }
  client.disconnect();
});

/** Members that are not documented count as mistakes. */
const strict = (schema: z.ZodType): z.ZodType => (schema instanceof z.ZodObject ? schema.strict() : schema);

test('[AP40] given random calls that nearly conform to the document, when they return, then the answers conform to it', async () => {
  for (const operation of operationsOf(await readDocument())) {
    const property = fc.asyncProperty(requestFor(operation, 'zq7'), async (request) => {
      const { status, text } = await post(request.path, request.body ?? '');
      const exchange = `${request.path} ${request.body} → ${status} ${text}`;
      if (status !== 200 && status !== 400) throw new Error(`not documented: ${exchange}`);
      const code = status === 200 && JSON.parse(text).error?.code;
      if (code === 100 || (code === 104 && request.path !== '/api/rpc')) throw new Error(`a fault: ${exchange}`);
    });
    await fc.assert(property, { numRuns: 40, endOnFailure: true });
  }
  expect((await fetch(`${fleet.gateway.url}/readyz`)).status).toBe(200);
}, 60_000);

test('[AP11] [AP41] given lines of calls, when a back end posts them, then each has an answer, and malformed bodies are rejected with 400', async () => {
  const lines = [
    { id: 1, method: 'publish', params: { channel: 'legacy', data: 1 } },
    { method: 'publish', params: { channel: '', data: 1 } },
    { id: 'x', method: 'dance' },
  ];
  const { status, text } = await post('/api', lines.map((line) => JSON.stringify(line)).join('\n'));
  expect(status).toBe(200);
  expect(text.split('\n').map((line) => JSON.parse(line))).toEqual([
    { id: 1, result: { offset: 1, epoch: expect.any(String) } },
    { error: { code: 107, message: 'bad request: `channel` is empty' } },
    { id: 'x', error: { code: 104, message: 'method not found' } },
  ]);
  for (const body of ['', '{', '[]', '{}\nnull', '{}\n'.repeat(1_001)]) {
    expect((await post('/api', body)).status).toBe(400);
  }
  expect((await fetch(`${fleet.gateway.url}/api`)).status).toBe(405);
  const noKey = await fetch(`${fleet.gateway.url}/api`, { method: 'POST', body: '{}' });
  expect([noKey.status, await noKey.text()]).toEqual([401, '']);
});
