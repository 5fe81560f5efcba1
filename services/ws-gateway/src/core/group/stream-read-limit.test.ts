import { describe, expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const retention = { size: 300, ttlMs: 300_000, metaTtlMs: 3_000_000 };
const RATE = 100_000;
/** A group that keeps 50,000 bytes; a client reads two times as many per second, and four seconds of that at once. */
const withHistory = async () => {
  const under = engineUnderTest({ limits: { maxReadBytesPerS: RATE }, groups: { retention } });
  for (let n = 0; n < 5; n += 1) {
    await under.engine.api.call('publish', { channel: 'big', data: 'x'.repeat(10_000) });
  }
  const reader = async (user: string) => {
    const one = await under.connected(user);
    await one.say({ id: 2, subscribe: { channel: 'big' } });
    return one;
  };
  return { ...under, reader };
};
const history = (id: number) => ({ id, history: { channel: 'big', limit: -1 } });
const answers = (messages: unknown[]) =>
  messages.filter((one) => typeof one === 'object' && one !== null && 'history' in one).length;
const many = Array.from({ length: 40 }, (_, n) => history(10 + n));

describe('[SW11] [SW16] given a client that reads more history than its share', () => {
  test('then its reads are delayed, all are answered in order, and it is not closed', async () => {
    const { reader, pass, metrics } = await withHistory();
    const one = await reader('ann');
    const ids: number[] = [];
    const take = () => {
      for (const message of one.wire.take() as { id?: number; history?: object }[]) {
        if (message.history && message.id) ids.push(message.id);
      }
      return ids.length;
    };
    one.connection.onFrame(many.map((command) => JSON.stringify(command)).join('\n'));
    await pass(100);
    const atOnce = take();
    expect(atOnce).toBeGreaterThanOrEqual(8);
    expect(atOnce).toBeLessThan(12);
    await pass(2_000);
    expect(take() - atOnce).toBeGreaterThanOrEqual(3);
    expect(take() - atOnce).toBeLessThanOrEqual(6);
    for (let second = 0; second < 20; second += 1) await pass(1_000);
    take();
    expect(ids).toEqual(many.map(({ id }) => id));
    expect(one.wire.closed).toBeUndefined();
    expect(new Set(metrics.limited)).toEqual(new Set(['read_bytes']));
  });

  test('then another client reads at once, and another connection of the same client is delayed', async () => {
    const { reader } = await withHistory();
    const greedy = await reader('ann');
    await greedy.say(...many);
    const [other, second] = [await reader('bob'), await reader('ann')];
    expect(answers(await other.say(history(3)))).toBe(1);
    expect(answers(await second.say(history(3)))).toBe(0);
  });

  test('then recovered publications are delayed, complete, and count as reads', async () => {
    const { reader, client, pass, engine } = await withHistory();
    const greedy = await reader('ann');
    await greedy.say(...many);
    await engine.api.call('publish', { channel: 'other', data: 'y'.repeat(1_000) });
    const late = client();
    await late.say({ id: 1, connect: { token: 'ann' } });
    const recover = { channel: 'other', recoverable: true, recover: true, offset: 0, epoch: '' };
    expect(await late.say({ id: 2, subscribe: recover })).toEqual([]);
    for (let second = 0; second < 20; second += 1) await pass(1_000);
    const [answer] = late.wire.take();
    expect(answer).toMatchObject({ id: 2, subscribe: { recovered: true, publications: [{ offset: 1 }] } });
  });

  test('then a connection that closes releases its reads to others', async () => {
    const { reader, pass } = await withHistory();
    const greedy = await reader('ann');
    await greedy.say(...many);
    const second = await reader('ann');
    await second.say(history(3));
    greedy.connection.onClosed(1006);
    for (let second = 0; second < 3; second += 1) await pass(1_000);
    expect(answers(second.wire.take())).toBe(1);
  });
});
