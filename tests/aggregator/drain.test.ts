import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator, startTiny } from './fixture.ts';

const stores = useTestStores();
const TOKEN = 'an-operator-token-0123';
const request = (method: string, body?: object, token = TOKEN): RequestInit => ({
  method,
  headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
  ...(body ? { body: JSON.stringify(body) } : {}),
});
const readiness = async (port: number) => (await fetch(`http://127.0.0.1:${port}/readyz`)).status;

test('[DV1] [DV2] [DV4] [DV5] [DV6] [DV8] when an operator drains and resumes instances, they comply; the last serving instance needs force', async () => {
  await using aggregator = await startAggregator(stores, { ...FAST, OPS_TOKEN: TOKEN });
  await using one = await startTiny(stores, { ...FAST, INSTANCE_NAME: 'tiny-1' });
  await using two = await startTiny(stores, { ...FAST, INSTANCE_NAME: 'tiny-2' });
  for (const { name } of [one, two]) {
    await until(async () => (await aggregator.stateOf(name)) === 'up', {
      what: `${name} to be up`,
      timeoutMs: 15_000,
    });
  }
  const answer = await aggregator.request('/v1/instances/tiny-1/drain', request('POST', { reason: 'kernel' }));
  expect(answer).toMatchObject({
    status: 202,
    body: { name: 'tiny-1', directive: 'drain', load: { connections: 3 } },
  });
  await until(async () => (await readiness(one.port)) === 503, {
    what: 'an unready instance',
    timeoutMs: 15_000,
  });
  await until(async () => (await aggregator.stateOf('tiny-1')) === 'draining', {
    what: 'draining',
    timeoutMs: 15_000,
  });
  expect(await readiness(two.port)).toBe(200);

  const refused = await aggregator.request('/v1/instances/tiny-2/drain', request('POST'));
  expect(refused).toMatchObject({
    status: 409,
    body: { detail: 'No other instance of this service is serving.' },
  });
  expect((await aggregator.request('/v1/instances/tiny-2/drain', request('POST', { force: true }))).status).toBe(202);
  await until(async () => (await readiness(two.port)) === 503, {
    what: 'the forced instance',
    timeoutMs: 15_000,
  });

  for (const { name, port } of [one, two]) {
    expect((await aggregator.request(`/v1/instances/${name}/drain`, request('DELETE'))).status).toBe(202);
    await until(async () => (await readiness(port)) === 200, { what: 'a ready instance', timeoutMs: 15_000 });
    await until(async () => (await aggregator.stateOf(name)) === 'up', {
      what: `${name} to be up again`,
      timeoutMs: 15_000,
    });
  }
  const changes = aggregator.log.of('instance.changed').map(({ fields }) => fields['to']);
  expect(changes).not.toContain('down');
}, 60_000);

test('[DV3] [DV9] given no valid token, a drain is rejected with 401; without OPS_TOKEN it is rejected with 403', async () => {
  await using aggregator = await startAggregator(stores, { OPS_TOKEN: TOKEN });
  for (const init of [
    { method: 'POST' },
    request('POST', {}, 'wrong-token-0123456'),
    request('DELETE', undefined, 'x'),
  ]) {
    expect((await aggregator.request('/v1/instances/aggregator-test/drain', init)).status).toBe(401);
  }
  expect((await aggregator.request('/v1/instances/unknown/drain', request('POST'))).status).toBe(404);
  const bad = await aggregator.request('/v1/instances/aggregator-test/drain', request('POST', { forced: true }));
  expect(bad.status).toBe(422);
  expect(bad.body.detail[0].loc).toEqual(['body', 'forced']);
  await using closed = await startAggregator(stores);
  expect((await closed.request('/v1/instances/aggregator-test/drain', request('POST'))).status).toBe(403);
});
