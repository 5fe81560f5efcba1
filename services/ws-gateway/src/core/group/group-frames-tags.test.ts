import { expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const polish = { key: 'lang', cmp: 'eq', val: 'pl' };
const data = (messages: unknown[]) =>
  (messages as { push?: { pub?: { data: unknown } } }[]).flatMap(({ push }) => (push?.pub ? [push.pub.data] : []));

test('[TF4] given a filter, when publications are made or recovered, then the subscriber receives those that match', async () => {
  const retention = { size: 10, ttlMs: 60_000, metaTtlMs: 60_000 };
  const { connected, engine } = engineUnderTest({ groups: { retention }, publishBatchWindowMs: 0 });
  const [choosy, other] = [await connected('ann'), await connected('bob')];
  const subscribe = { channel: 'room', tf: polish };
  const [reply] = (await choosy.say({ id: 2, subscribe })) as { subscribe: { epoch: string } }[];
  await other.say({ id: 2, subscribe: { channel: 'room' } });
  for (const [n, tags] of [
    [1, { lang: 'pl' }],
    [2, { lang: 'en' }],
    [3, {}],
    [4, { lang: 'pl' }],
  ] as const) {
    await engine.api.call('publish', { channel: 'room', data: n, tags });
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(data(choosy.wire.take())).toEqual([1, 4]);
  expect(data(other.wire.take())).toEqual([1, 2, 3, 4]);
  const back = await connected('ann');
  const recover = { ...subscribe, recover: true, offset: 1, epoch: reply?.subscribe.epoch };
  const [again] = (await back.say({ id: 2, subscribe: recover })) as {
    subscribe: { recovered: boolean; publications: { data: unknown }[] };
  }[];
  expect(again?.subscribe).toMatchObject({ recovered: true, publications: [{ data: 4 }] });
});

test('[TF4] given a group without filters, when a client requests a filter, then the reply is error 107', async () => {
  const { connected } = engineUnderTest({ groups: { allowTagsFilter: false } });
  const { say } = await connected();
  expect(await say({ id: 2, subscribe: { channel: 'room', tf: polish } })).toMatchObject([{ error: { code: 107 } }]);
});
