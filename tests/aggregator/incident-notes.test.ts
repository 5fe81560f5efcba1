import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator } from './fixture.ts';

const stores = useTestStores();
const TOKEN = 'an-operator-token-0123';
const request = (body: object, token = TOKEN, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

test('[IN4] [IN15] [IN16] [IN17] when an operator opens, updates and closes a note, it is public, and no probe changes it', async () => {
  const env = { ...FAST, OPS_TOKEN: TOKEN, INCIDENT_AFTER_MS: '200', EXPECTED: 'health-aggregator=1' };
  await using aggregator = await startAggregator(stores, env);
  expect((await aggregator.request('/v1/incidents', request({ text: 'x' }, 'not-the-token'))).status).toBe(401);
  expect((await aggregator.request('/v1/incidents', request({ text: ' ' }))).status).toBe(422);
  const opened = await until(() => aggregator.request('/v1/incidents', request({ text: 'The network is moved.' })), {
    ok: ({ status }) => status === 201,
    what: 'a leader',
    timeoutMs: 15_000,
  });
  const { id } = opened.body;
  expect(opened.body).toMatchObject({ subject: 'fleet', severity: 'degraded', isNote: true });
  // Longer than an incident of the aggregator stays open on an operational fleet.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const open = await aggregator.request('/v1/incidents?state=open');
  expect(open.body.items).toMatchObject([{ id, updates: [{ text: 'The network is moved.' }] }]);

  const path = `/v1/incidents/${id}/updates`;
  expect((await aggregator.request(path, request({ text: 'Half done.' }))).status).toBe(200);
  const closed = await aggregator.request(path, request({ text: 'Done.', closes: true }));
  expect(closed.body.updates.map(({ text }: { text: string }) => text)).toEqual([
    'The network is moved.',
    'Half done.',
    'Done.',
  ]);
  expect((await aggregator.request(path, request({ text: 'More.' }))).status).toBe(409);
  const unknown = `/v1/incidents/${crypto.randomUUID()}/updates`;
  expect((await aggregator.request(unknown, request({ text: 'x' }))).status).toBe(404);
  const feed = await aggregator.request('/feed.atom');
  expect(feed.headers.get('content-type')).toMatch(/^application\/atom\+xml/);
  expect(feed.body).toContain('Half done.');
}, 60_000);

test('[IN9] [IN18] given an idempotency key, a repeated request is executed once, and another request with the key is 422', async () => {
  await using aggregator = await startAggregator(stores, { ...FAST, OPS_TOKEN: TOKEN });
  const keyed = (body: object, key: string) => request(body, TOKEN, { 'idempotency-key': key });
  const open = () => aggregator.request('/v1/incidents', keyed({ text: 'Maintenance.' }, 'open-1'));
  const opened = await until(open, { ok: ({ status }) => status === 201, what: 'a leader' });
  const { id } = opened.body;
  expect((await open()).body).toEqual(opened.body);
  const other = await aggregator.request('/v1/incidents', keyed({ text: 'Another.' }, 'open-1'));
  expect(other).toMatchObject({ status: 422, body: { detail: [{ type: 'idempotency_key_reused' }] } });
  const add = (body: object, key: string) => aggregator.request(`/v1/incidents/${id}/updates`, keyed(body, key));
  const [first, again] = [await add({ text: 'Half.' }, 'u-1'), await add({ text: 'Half.' }, 'u-1')];
  expect(first.body.updates).toHaveLength(2);
  expect(again).toMatchObject({ status: 200, body: first.body });
  expect((await add({ text: 'Done.' }, 'u-1')).status).toBe(422);
  expect((await add({ text: 'Half.' }, 'not printable\u00e9')).status).toBe(422);
  const end = () => add({ text: 'Done.', closes: true }, 'u-2');
  const [closed, repeated] = [await end(), await end()];
  expect(closed.body.closedAt).toEqual(expect.any(String));
  expect(repeated).toMatchObject({ status: 200, body: closed.body });
  expect((await add({ text: 'More.' }, 'u-3')).status).toBe(409);
  const { body } = await aggregator.request('/v1/incidents');
  expect(body.items.filter((one: { id: string }) => one.id === id)).toHaveLength(1);
  expect(JSON.stringify(body).match(/Maintenance/g)).toHaveLength(1);
  expect(JSON.stringify(body)).not.toContain('madeBy');
}, 60_000);

test('[IN11] given concurrent updates of one note, all are kept', async () => {
  await using aggregator = await startAggregator(stores, { ...FAST, OPS_TOKEN: TOKEN });
  const open = () => aggregator.request('/v1/incidents', request({ text: 'Maintenance.' }));
  const opened = await until(open, { ok: ({ status }) => status === 201, what: 'a leader' });
  const texts = Array.from({ length: 6 }, (_, number) => `Step ${number}.`);
  const path = `/v1/incidents/${opened.body.id}/updates`;
  const answers = await Promise.all(texts.map((text) => aggregator.request(path, request({ text }))));
  expect(answers.map(({ status }) => status)).toEqual(texts.map(() => 200));
  const { body } = await aggregator.request('/v1/incidents');
  const [note] = body.items.filter(({ id }: { id: string }) => id === opened.body.id);
  const kept = note.updates.map(({ text }: { text: string }) => text);
  expect(kept.toSorted()).toEqual(['Maintenance.', ...texts]);
});
