import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator } from './aggregator-fixture.ts';

const stores = useTestStores();
const TOKEN = 'an-operator-token-0123';
const order = (body: object, token = TOKEN): RequestInit => ({
  method: 'POST',
  headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
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
