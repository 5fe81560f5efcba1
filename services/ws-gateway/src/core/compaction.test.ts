import { expect, test } from 'vitest';
import { engineUnderTest, settle } from './testing.ts';

interface Message {
  readonly subscribe?: { readonly id?: number };
  readonly push?: {
    readonly id?: number;
    readonly channel?: string;
    readonly pub?: object;
    readonly join?: object;
  };
}

test('[CC1] a client that knows numbers gets them for names, in publications, joins and leaves', async () => {
  const { connected } = engineUnderTest({ groups: { joinLeave: true, forcePushJoinLeave: true } });
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  const [reply] = (await ann.say({ id: 2, subscribe: { channel: 'a', flag: 1 } })) as Message[];
  const [other] = (await ann.say({ id: 3, subscribe: { channel: 'b', flag: 1 } })) as Message[];
  const [id, otherId] = [reply?.subscribe?.id, other?.subscribe?.id];
  expect(id).toBeGreaterThan(0);
  expect(otherId).not.toBe(id);
  await bob.say({ id: 2, subscribe: { channel: 'a' } });
  await bob.say({ id: 3, publish: { channel: 'a', data: { text: 'hi' } } });
  await settle();
  const pushes = (ann.wire.take() as Message[]).slice(-2);
  expect(pushes).toEqual([
    { push: { id, join: { info: { user: 'bob', client: bob.connection.id } } } },
    { push: { id, pub: { data: { text: 'hi' }, info: { user: 'bob', client: bob.connection.id } } } },
  ]);
});

test('[CC2] who does not gets names, in the same group', async () => {
  const { connected } = engineUnderTest();
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  await ann.say({ id: 2, subscribe: { channel: 'a', flag: 1 } });
  expect(await bob.say({ id: 2, subscribe: { channel: 'a' } })).toEqual([{ id: 2, subscribe: {} }]);
  const messages = (await bob.say({ id: 3, publish: { channel: 'a', data: 1 } })) as Message[];
  expect(messages.find(({ push }) => push)?.push).toMatchObject({ channel: 'a', pub: { data: 1 } });
});

test('[CC2] a group may grant no numbers', async () => {
  const { connected } = engineUnderTest({ groups: { channelCompaction: 'none' } });
  const ann = await connected('ann');
  expect(await ann.say({ id: 2, subscribe: { channel: 'a', flag: 1 } })).toEqual([{ id: 2, subscribe: {} }]);
});
