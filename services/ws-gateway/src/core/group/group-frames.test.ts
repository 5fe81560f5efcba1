import { Fields, MessageWriter, splitMessages } from '@muster/protocol/protobuf-wire';
import { expect, test } from 'vitest';
import { protobufCodec } from '../connection/codec.ts';
import { engineUnderTest, FakeWire, settle } from '../engine-fixture.ts';

interface Message {
  readonly subscribe?: { readonly id?: number };
  readonly push?: {
    readonly id?: number;
    readonly channel?: string;
    readonly pub?: object;
    readonly join?: object;
  };
}

test('[CC1] given a client with channel compaction, when it receives pushes, then they carry the channel number', async () => {
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

test('[CC2] given a client without channel compaction, when it receives pushes, then they carry the name', async () => {
  const { connected } = engineUnderTest();
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  await ann.say({ id: 2, subscribe: { channel: 'a', flag: 1 } });
  expect(await bob.say({ id: 2, subscribe: { channel: 'a' } })).toEqual([{ id: 2, subscribe: {} }]);
  const messages = (await bob.say({ id: 3, publish: { channel: 'a', data: 1 } })) as Message[];
  expect(messages.find(({ push }) => push)?.push).toMatchObject({ channel: 'a', pub: { data: 1 } });
});

test('[CC2] given channel_compaction none, when a client requests it, then pushes carry the name', async () => {
  const { connected } = engineUnderTest({ groups: { channelCompaction: 'none' } });
  const ann = await connected('ann');
  expect(await ann.say({ id: 2, subscribe: { channel: 'a', flag: 1 } })).toEqual([{ id: 2, subscribe: {} }]);
});

test('[CC1] given channel_compaction all, when a Protobuf client receives pushes, then they carry the channel number', async () => {
  const { connected, engine } = engineUnderTest({ groups: { channelCompaction: 'all' } });
  const bob = await connected('bob');
  const wire = new FakeWire();
  const frames: Buffer[] = [];
  wire.write = (frame) => void frames.push(frame);
  const ann = engine.open(wire, { tokens: [], origin: undefined, codec: protobufCodec });
  const ask = async (id: number, method: number, request: MessageWriter) => {
    ann.onFrame(Buffer.from(new MessageWriter().number(1, id).message(method, request).delimited()));
    await settle();
    return frames.splice(0).map((frame) => new Fields(splitMessages(frame.subarray(2))[0] ?? frame));
  };
  await ask(1, 4, new MessageWriter().text(1, 'ann'));
  const [reply] = await ask(2, 5, new MessageWriter().text(1, 'a').number(14, 1));
  const id = reply?.message(6)?.number(14);
  expect(id).toBeGreaterThan(0);
  await bob.say({ id: 2, publish: { channel: 'a', data: 'hi' } });
  const [frame = Buffer.alloc(2)] = frames;
  const push = new Fields(splitMessages(frame.subarray(2))[0] ?? frame).message(4);
  expect([push?.number(1), push?.text(2), push?.message(4)?.text(4)]).toEqual([id, '', '"hi"']);
});
