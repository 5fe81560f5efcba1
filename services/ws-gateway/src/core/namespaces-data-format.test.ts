import { expect, test } from 'vitest';
import { engineUnderTest, settle } from './engine-fixture.ts';
import { acceptsPayload } from './namespaces.ts';

test('[NS5] given a data format, when clients and back ends publish, then other payloads are rejected', async () => {
  const { connected, plain, engine } = engineUnderTest({ groups: { publicationDataFormat: 'json_object' } });
  const ann = await connected('ann');
  await ann.say({ id: 2, subscribe: { channel: 'a' } });
  expect(await ann.say({ id: 3, publish: { channel: 'a', data: [1] } })).toMatchObject([{ error: { code: 107 } }]);
  expect(await ann.say({ id: 4, publish: { channel: 'a', data: { one: 1 } } })).toHaveLength(2);
  expect(await engine.api.call('publish', { channel: 'a', data: 'text' })).toMatchObject({
    ok: false,
    code: 107,
  });
  expect(await engine.api.call('publish', { channel: 'a', data: {} })).toMatchObject({ ok: true });
  const raw = await plain('a');
  raw.connection.onFrame('hello');
  raw.connection.onFrame('{"two":2}');
  await settle();
  const heard = raw.wire.take();
  expect(heard).toEqual([
    { type: 'error', code: 107, message: expect.stringContaining('publication_data_format') },
    { two: 2 },
  ]);
});

test('[NS5] given the formats json and any, when bytes that are not JSON are published, then only any accepts them', () => {
  expect(acceptsPayload({ publicationDataFormat: 'json' }, '"AAEC"', true)).toBe(false);
  expect(acceptsPayload({ publicationDataFormat: 'json' }, '"AAEC"', false)).toBe(true);
  expect(acceptsPayload({ publicationDataFormat: 'any' }, '"AAEC"', true)).toBe(true);
  expect(acceptsPayload({ publicationDataFormat: 'json_object' }, '"AAEC"', true)).toBe(false);
});
