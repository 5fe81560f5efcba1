import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TICK_MS } from '../engine.ts';
import { engineUnderTest, type FakeWire, settle } from '../engine-fixture.ts';

const retention = { size: 1_000, ttlMs: 60_000, metaTtlMs: 120_000 };
const LAG = { retention, slowPolicy: 'lag' } as const;
const LIMITS = { maxSendBufferBytes: 4_096 };
/** Above two of them no third fits. */
const TEXT = 'x'.repeat(1_500);

interface Message {
  readonly push?: {
    readonly pub?: { readonly data: number | string };
    readonly join?: object;
    readonly unsubscribe?: { readonly code: number };
  };
}

const numbersIn = (wire: FakeWire): unknown[] =>
  (wire.take() as Message[]).flatMap(({ push }) => (push?.pub ? [Number.parseInt(`${push.pub.data}`, 10)] : []));
const unsubscribesIn = (wire: FakeWire): number[] =>
  (wire.take() as Message[]).flatMap(({ push }) => (push?.unsubscribe ? [push.unsubscribe.code] : []));
const idsOf = (answers: unknown[]): number[] => (answers as { id: number }[]).map(({ id }) => id);
const upTo = (end: number): number[] => Array.from({ length: end }, (_, n) => n);

/** A fast member, a slow one, and a way to publish numbered texts. */
const scene = async (options: Parameters<typeof engineUnderTest>[0] = {}) => {
  const under = engineUnderTest({ groups: LAG, limits: LIMITS, ...options });
  const [fast, slow] = [await under.connected('ann'), await under.connected('bob')];
  for (const { say } of [fast, slow]) await say({ id: 2, subscribe: { channel: 'room' } });
  let published = 0;
  return {
    ...under,
    /** Ticks until no member is behind, at most `most` times. */
    catchUp: async (most = 100): Promise<void> => {
      for (let tick = 0; tick < most && under.engine.counts().lagging > 0; tick++) await under.pass(TICK_MS);
    },
    fast,
    slow,
    publish: async (count: number, more: object = {}): Promise<void> => {
      for (let one = 0; one < count; one++) {
        await under.engine.api.call('publish', { channel: 'room', data: `${published++} ${TEXT}`, ...more });
      }
      await settle();
    },
  };
};

describe('slow consumers', () => {
  test('[SW1] [SW12] given a slow member, when publications are made, then it is skipped, catches up in order, and others are not affected', async () => {
    const { fast, slow, publish, pass, metrics, engine } = await scene();
    slow.wire.isRead = false;
    await publish(30);
    expect(numbersIn(fast.wire)).toEqual(upTo(30));
    expect(numbersIn(slow.wire)).toEqual([0, 1]);
    expect(slow.wire.bufferedBytes).toBeLessThanOrEqual(LIMITS.maxSendBufferBytes);
    expect(engine.counts()).toMatchObject({ lagging: 1, subscriptions: 2 });
    await pass(TICK_MS * 5);
    expect(numbersIn(slow.wire)).toEqual([]);
    const got = [0, 1];
    while (got.length < 30) {
      slow.wire.read();
      await pass(TICK_MS);
      expect(slow.wire.bufferedBytes).toBeLessThanOrEqual(LIMITS.maxSendBufferBytes);
      got.push(...(numbersIn(slow.wire) as number[]));
    }
    expect(got).toEqual(upTo(30));
    slow.wire.read();
    slow.wire.isRead = true;
    await pass(TICK_MS);
    expect(engine.counts().lagging).toBe(0);
    await publish(2);
    expect(numbersIn(slow.wire)).toEqual([30, 31]);
    expect(metrics.slow).toEqual(['lag', 'caught_up']);
    expect(slow.wire.closed).toBeUndefined();
  });

  test('[SW1] given a batch of kept and unkept publications, when a slow member catches up, then it receives the kept publications', async () => {
    const { slow, publish, catchUp, engine } = await scene({ publishBatchWindowMs: 20 });
    await publish(1);
    slow.wire.take();
    slow.wire.bufferedBytes = LIMITS.maxSendBufferBytes;
    await Promise.all([publish(1, { skip_history: true }), publish(1)]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    await settle();
    expect(engine.counts().lagging).toBe(1);
    slow.wire.bufferedBytes = 0;
    await catchUp();
    expect(numbersIn(slow.wire)).toEqual([2]);
  });

  test('[SW1] given publications that are no longer in memory, when a slow member catches up, then they are read from the stream', async () => {
    const { slow, publish, catchUp } = await scene();
    slow.wire.isRead = false;
    await publish(150);
    slow.wire.isRead = true;
    slow.wire.read();
    await catchUp();
    expect(numbersIn(slow.wire)).toEqual(upTo(150));
  });

  test('[SW1] given a slow plain connection, when it reads, then it catches up', async () => {
    const { plain, publish, catchUp } = await scene();
    const { wire } = await plain('room');
    wire.isRead = false;
    await publish(30);
    wire.isRead = true;
    wire.read();
    await catchUp();
    expect(wire.messages.map((text) => Number.parseInt(text, 10))).toEqual(upTo(30));
  });

  test('[SW1] given filters and exclusions, when a slow member catches up, then they apply', async () => {
    const { connected, publish, catchUp } = await scene();
    const choosy = await connected('ann');
    await choosy.say({ id: 2, subscribe: { channel: 'room', tf: { key: 'k', cmp: 'eq', val: 'yes' } } });
    choosy.wire.isRead = false;
    await publish(4, { tags: { k: 'yes' } });
    await publish(2, { tags: { k: 'no' } });
    await publish(1, { tags: { k: 'yes' }, exclude: { client: choosy.connection.id } });
    await publish(1, { tags: { k: 'yes' } });
    choosy.wire.isRead = true;
    choosy.wire.read();
    await catchUp(5);
    expect(numbersIn(choosy.wire)).toEqual([0, 1, 2, 3, 7]);
  });

  test('[SW2] [SW13] given missed publications that are not kept, when a slow member reads, then it is unsubscribed with 2500, or closed with 3010 if plain', async () => {
    const { slow, plain, publish, metrics, engine, catchUp } = await scene({
      groups: { ...LAG, retention: { ...retention, size: 5 } },
      limits: { maxSendBufferBytes: 4_096 },
    });
    const bare = await plain('room');
    for (const { wire } of [slow, bare]) wire.isRead = false;
    await publish(150);
    for (const { wire } of [slow, bare]) wire.read();
    await catchUp(5);
    expect(unsubscribesIn(slow.wire)).toEqual([2500]);
    expect(bare.wire.closed?.code).toBe(3010);
    expect(engine.counts()).toMatchObject({ subscriptions: 1, lagging: 0 });
    expect(metrics.slow).toEqual(['lag', 'lag', 'resync', 'resync']);
    expect(slow.wire.closed).toBeUndefined();
  });

  test('[SW2] given a new epoch of the stream, when a slow member reads, then it is unsubscribed with 2500', async () => {
    const { slow, publish, pass, broker, engine } = await scene();
    slow.wire.isRead = false;
    await publish(5);
    broker.streams.flush();
    await publish(1);
    await engine.checkPositions();
    slow.wire.read();
    await pass(TICK_MS * 2);
    expect(unsubscribesIn(slow.wire)).toEqual([2500]);
  });

  test('[SW3] given no history, or the default policy, when a member is slow, then it is closed with 3008', async () => {
    for (const groups of [{ ...LAG, retention: undefined }, { retention }]) {
      const { fast, slow, publish } = await scene({ groups });
      slow.wire.isRead = false;
      await publish(4);
      expect(slow.wire.closed).toEqual({ code: 3008, reason: 'slow' });
      expect(numbersIn(fast.wire)).toEqual(upTo(4));
    }
  });

  test('[SW4] [SW14] given a slow member, when it requests replies, then it receives up to 64 KiB of them and is closed with 3008 beyond', async () => {
    const { slow, publish } = await scene();
    slow.wire.isRead = false;
    await publish(4);
    slow.wire.take();
    const position = { channel: 'room', limit: 0 };
    expect(await slow.say({ id: 9, history: position })).toMatchObject([{ id: 9 }]);
    for (let id = 10; id < 40; id++) await slow.say({ id, history: { channel: 'room', limit: 3 } });
    expect(slow.wire.closed).toBeUndefined();
    for (let id = 100; id < 2_000; id += 100) {
      await slow.say(...Array.from({ length: 100 }, (_, n) => ({ id: id + n, history: position })));
    }
    expect(slow.wire.closed).toEqual({ code: 3008, reason: 'slow' });
  });

  test('[SW8] given large results, when a slow member requests them, then it receives each as it reads', async () => {
    const { slow, publish, pass } = await scene();
    await publish(4);
    slow.wire.isRead = false;
    slow.wire.take();
    const ask = (id: number) => ({ id, history: { channel: 'room', limit: 2 } });
    const answered = idsOf(await slow.say(...Array.from({ length: 60 }, (_, n) => ask(10 + n))));
    expect(slow.wire.bufferedBytes).toBeLessThan(2 * LIMITS.maxSendBufferBytes);
    for (let tick = 0; tick < 100 && answered.length < 60; tick++) {
      answered.push(...idsOf(slow.wire.take()));
      slow.wire.read();
      await pass(TICK_MS);
    }
    expect(answered.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => 10 + n));
    expect(slow.wire.closed).toBeUndefined();
  });

  test('[SW5] given unkept pushes, when a slow member catches up, then they are not delivered', async () => {
    const { slow, publish, engine, connected, catchUp } = await scene({
      groups: { ...LAG, joinLeave: true, forcePushJoinLeave: true },
    });
    slow.wire.isRead = false;
    await publish(4);
    await (await connected('ann')).say({ id: 2, subscribe: { channel: 'room' } });
    await engine.api.call('publish', { channel: 'room', data: `99 ${TEXT}`, skip_history: true });
    await publish(1);
    slow.wire.isRead = true;
    slow.wire.read();
    await catchUp(5);
    expect(numbersIn(slow.wire)).toEqual(upTo(5));
  });

  test('[SW1] given a slow delta subscriber, when it catches up, then payloads are whole, and deltas follow afterwards', async () => {
    const { connected, publish, catchUp } = await scene({
      groups: { ...LAG, deltaPublish: true, allowedDeltaTypes: ['fossil'] },
    });
    const { wire, say } = await connected('ann');
    expect(await say({ id: 2, subscribe: { channel: 'room', delta: 'fossil' } })).toMatchObject([
      { subscribe: { delta: true } },
    ]);
    const pushes = () =>
      (wire.take() as { push: { pub: { data: string; delta?: boolean; offset: number } } }[]).map(
        ({ push }) => push.pub,
      );
    await publish(1);
    wire.isRead = false;
    wire.bufferedBytes = LIMITS.maxSendBufferBytes;
    await publish(5);
    wire.isRead = true;
    wire.read();
    await catchUp();
    const [first, ...missed] = pushes();
    expect(first?.offset).toBe(1);
    expect(missed.map(({ offset }) => offset)).toEqual([2, 3, 4, 5, 6]);
    for (const { data, delta } of missed) {
      expect(delta).toBeUndefined();
      expect(JSON.parse(data)).toContain(TEXT);
    }
    await publish(2);
    expect(pushes().map(({ offset, delta }) => [offset, delta])).toEqual([
      [7, undefined],
      [8, true],
    ]);
  });

  test('[AP34] given a slow member, when a back end queries connections, then the result has connect time, pending bytes and lagging groups', async () => {
    const { slow, publish, engine, catchUp } = await scene();
    const shown = async () => {
      const answer = await engine.api.call('connections', { client: slow.connection.id });
      return answer.ok ? JSON.parse(answer.json).connections[0] : undefined;
    };
    const { since } = slow.connection;
    expect(await shown()).toMatchObject({ groups: ['room'], behind: [], lag: 0, since });
    slow.wire.isRead = false;
    await publish(10);
    expect(await shown()).toMatchObject({ groups: ['room'], behind: ['room'], lag: slow.wire.bufferedBytes });
    slow.wire.isRead = true;
    slow.wire.read();
    await catchUp();
    expect(await shown()).toMatchObject({ behind: [], lag: 0 });
  });

  test('[SW17] given a lagging member, when it unsubscribes, then it receives nothing more', async () => {
    const { slow, publish, engine, catchUp } = await scene();
    slow.wire.isRead = false;
    await publish(10);
    slow.wire.take();
    await slow.say({ id: 3, unsubscribe: { channel: 'room' } });
    slow.wire.read();
    await catchUp(5);
    expect(numbersIn(slow.wire)).toEqual([]);
    expect(engine.counts()).toMatchObject({ subscriptions: 1, lagging: 0 });
  });
});

const gathered = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms * 4));

const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 150 }) }),
    fc.record({ do: fc.constant('read' as const), bytes: fc.integer({ min: 100, max: 8_000 }) }),
    fc.record({ do: fc.constant('lose' as const), on: fc.boolean() }),
    fc.constant({ do: 'audit' as const }),
    fc.constant({ do: 'pass' as const }),
  ),
  { minLength: 5, maxLength: 25 },
);

test('[SW1] given any order of publications, losses and reads, when it has ended, then the member has everything once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom(0, 5), async (plan, publishBatchWindowMs) => {
      const kept = { ...LAG, retention: { ...retention, size: 10_000 } };
      const { slow, fast, publish, pass, broker, engine, catchUp } = await scene({
        groups: kept,
        publishBatchWindowMs,
      });
      slow.wire.isRead = false;
      let published = 0;
      for (const step of plan) {
        if (step.do === 'publish') {
          await publish(step.count);
          published += step.count;
        } else if (step.do === 'read') slow.wire.read(step.bytes);
        else if (step.do === 'lose') broker.loses = step.on ? () => true : undefined;
        else if (step.do === 'audit') await engine.checkPositions();
        else await pass(TICK_MS);
      }
      broker.loses = undefined;
      slow.wire.isRead = true;
      slow.wire.read();
      await publish(1);
      await engine.checkPositions();
      // Batched publications wait for a real timer.
      await gathered(publishBatchWindowMs);
      await catchUp();
      expect(engine.counts().lagging).toBe(0);
      for (const { wire } of [fast, slow]) expect(numbersIn(wire)).toEqual(upTo(published + 1));
      expect(slow.wire.closed).toBeUndefined();
    }),
    { numRuns: 15 },
  );
}, 60_000);
