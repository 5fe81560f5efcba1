import { expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const retention = { size: 5, ttlMs: 60_000, metaTtlMs: 60_000 };

interface Answer {
  readonly error?: { readonly code: number };
  readonly history?: {
    readonly publications: { readonly data: unknown; readonly offset: number }[];
    readonly offset: number;
    readonly epoch: string;
  };
}

const room = async (groups: object = { retention }) => {
  const { connected } = engineUnderTest({ groups });
  const ann = await connected();
  await ann.say({ id: 2, subscribe: { channel: 'room' } });
  for (let n = 1; n <= 7; n++) await ann.say({ id: 10 + n, publish: { channel: 'room', data: n } });
  return async (query: object, channel = 'room') =>
    (await ann.say({ id: 99, history: { channel, ...query } })).at(-1) as Answer;
};
const offsets = ({ history }: Answer) => history?.publications.map(({ offset }) => offset);

test('[HI1] [HI3] [HI4] [HI5] given a group with history, when a client queries it, then the result has the position and the requested publications', async () => {
  const ask = await room();
  const position = await ask({});
  expect(position.history).toMatchObject({ publications: [], offset: 7, epoch: expect.any(String) });
  const epoch = position.history?.epoch;
  expect(offsets(await ask({ limit: -1 }))).toEqual([3, 4, 5, 6, 7]);
  expect(offsets(await ask({ limit: 2 }))).toEqual([3, 4]);
  expect(offsets(await ask({ limit: 2, since: { offset: 5, epoch } }))).toEqual([6, 7]);
  expect(offsets(await ask({ limit: 2, reverse: true }))).toEqual([7, 6]);
  expect(offsets(await ask({ limit: 9, reverse: true, since: { offset: 5, epoch } }))).toEqual([4, 3]);
  expect((await ask({ limit: 1 })).history?.publications[0]).toMatchObject({
    data: 3,
    info: { user: 'ann' },
  });
});

test('[HI2] [HI6] [HI7] [HI8] given history that is off, denied or of another epoch, when a client queries it, then the result is an error', async () => {
  const ask = await room();
  expect((await ask({ limit: 1, since: { offset: 1, epoch: 'other' } })).error?.code).toBe(112);
  expect((await ask({ limit: 1, reverse: true, since: { offset: 0, epoch: '' } })).error?.code).toBe(107);
  expect((await ask({ limit: 1 }, 'elsewhere')).error?.code).toBe(103);
  expect((await ask({ limit: 1 }, 'caf\u00e9')).error?.code).toBe(107);
  const closed = await room({ retention: undefined });
  expect((await closed({ limit: 1 })).error?.code).toBe(108);
});
