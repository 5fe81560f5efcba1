import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator } from './fixture.ts';

const stores = useTestStores();
const TOKEN = 'an-operator-token-0123';
const order = (body: object, token = TOKEN, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

test('[IN4] an operator opens a note, adds to it and ends it; everybody reads it, and no probe touches it', async () => {
  const env = { ...FAST, OPS_TOKEN: TOKEN, INCIDENT_AFTER_MS: '200', EXPECTED: 'health-aggregator=1' };
  await using aggregator = await startAggregator(stores, env);
  expect((await aggregator.ask('/v1/incidents', order({ text: 'x' }, 'not-the-token'))).status).toBe(401);
  expect((await aggregator.ask('/v1/incidents', order({ text: ' ' }))).status).toBe(422);
  const opened = await until(
    () => aggregator.ask('/v1/incidents', order({ text: 'The network is moved.' })),
    {
      ok: ({ status }) => status === 201,
      what: 'a leader to write it',
      timeoutMs: 15_000,
    },
  );
  const { id } = opened.body;
  expect(opened.body).toMatchObject({ subject: 'fleet', severity: 'degraded', isNote: true });
  // Longer than anything of the aggregator's own would stay open on a fleet that is well.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const open = await aggregator.ask('/v1/incidents?state=open');
  expect(open.body.items).toMatchObject([{ id, updates: [{ text: 'The network is moved.' }] }]);

  const path = `/v1/incidents/${id}/updates`;
  expect((await aggregator.ask(path, order({ text: 'Half done.' }))).status).toBe(200);
  const closed = await aggregator.ask(path, order({ text: 'Done.', closes: true }));
  expect(closed.body.updates.map(({ text }: { text: string }) => text)).toEqual([
    'The network is moved.',
    'Half done.',
    'Done.',
  ]);
  expect((await aggregator.ask(path, order({ text: 'More.' }))).status).toBe(409);
  const unknown = `/v1/incidents/${crypto.randomUUID()}/updates`;
  expect((await aggregator.ask(unknown, order({ text: 'x' }))).status).toBe(404);
  const feed = await aggregator.ask('/feed.atom');
  expect(feed.headers.get('content-type')).toMatch(/^application\/atom\+xml/);
  expect(feed.body).toContain('Half done.');
}, 60_000);

test('[IN9] given a request of an operator that is repeated with its key, then it is carried out once', async () => {
  await using aggregator = await startAggregator(stores, { ...FAST, OPS_TOKEN: TOKEN });
  const keyed = (body: object, key: string) => order(body, TOKEN, { 'idempotency-key': key });
  const open = () => aggregator.ask('/v1/incidents', keyed({ text: 'Maintenance.' }, 'open-1'));
  const opened = await until(open, { ok: ({ status }) => status === 201, what: 'a leader to write it' });
  const { id } = opened.body;
  expect((await open()).body).toEqual(opened.body);
  const other = await aggregator.ask('/v1/incidents', keyed({ text: 'Another.' }, 'open-1'));
  expect(other).toMatchObject({ status: 422, body: { detail: [{ type: 'idempotency_key_reused' }] } });
  const add = (body: object, key: string) => aggregator.ask(`/v1/incidents/${id}/updates`, keyed(body, key));
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
  const { body } = await aggregator.ask('/v1/incidents');
  expect(body.items.filter((one: { id: string }) => one.id === id)).toHaveLength(1);
  expect(JSON.stringify(body).match(/Maintenance/g)).toHaveLength(1);
  expect(JSON.stringify(body)).not.toContain('madeBy');
}, 60_000);

test('[IN11] updates of one note at the same moment are all kept', async () => {
  await using aggregator = await startAggregator(stores, { ...FAST, OPS_TOKEN: TOKEN });
  const open = () => aggregator.ask('/v1/incidents', order({ text: 'Maintenance.' }));
  const opened = await until(open, { ok: ({ status }) => status === 201, what: 'a leader to write it' });
  const texts = Array.from({ length: 6 }, (_, number) => `Step ${number}.`);
  const path = `/v1/incidents/${opened.body.id}/updates`;
  const answers = await Promise.all(texts.map((text) => aggregator.ask(path, order({ text }))));
  expect(answers.map(({ status }) => status)).toEqual(texts.map(() => 200));
  const { body } = await aggregator.ask('/v1/incidents');
  const [note] = body.items.filter(({ id }: { id: string }) => id === opened.body.id);
  const kept = note.updates.map(({ text }: { text: string }) => text);
  expect(kept.toSorted()).toEqual(['Maintenance.', ...texts]);
});
