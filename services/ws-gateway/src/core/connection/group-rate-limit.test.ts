import { expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const publish = (id: number, channel = 'room') => ({ id, publish: { channel, data: id } });

test('[RL5] [RL7] given a rate of a group, when clients exceed it together, then the excess is error 111, and back ends are not counted', async () => {
  const { connected, plain, pass, engine } = engineUnderTest({ groups: { publishRate: 2 } });
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  const bare = await plain('room');
  const answers = [...(await ann.say(publish(2), publish(3), publish(4))), ...(await bob.say(publish(5)))];
  expect(answers).toEqual([
    { id: 2, publish: {} },
    { id: 3, publish: {} },
    { id: 4, publish: {} },
    { id: 5, publish: {} },
  ]);
  expect(await bob.say(publish(6), publish(7, 'hall'))).toMatchObject([
    { id: 6, error: { code: 111, temporary: true } },
    { id: 7, publish: {} },
  ]);
  bare.wire.take();
  bare.connection.onFrame('"mine"');
  expect(bare.wire.take()).toMatchObject([{ type: 'error', code: 111 }]);
  expect(await engine.api.call('publish', { channel: 'room', data: 1 })).toBeDefined();
  await pass(500);
  expect(await bob.say(publish(8))).toEqual([{ id: 8, publish: {} }]);
});

test('[RL8] given rejected publications, when they are counted, then they do not use the rate', async () => {
  const { connected } = engineUnderTest({ groups: { publishRate: 1 } });
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  for (let id = 2; id < 12; id++) {
    expect(await bob.say(publish(id, 'own#ann'))).toMatchObject([{ error: { code: 103 } }]);
  }
  expect(await ann.say(publish(2, 'own#ann'))).toEqual([{ id: 2, publish: {} }]);
});
