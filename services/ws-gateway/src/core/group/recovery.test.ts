import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import { AppError } from '@muster/protocol/errors';
import { until } from '@muster/testkit/wait';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

const ROOM = 'room' as GroupKey;
const retention = { size: 50, ttlMs: 60_000, metaTtlMs: 120_000 };
const KEPT = { groups: { retention } };

interface Heard {
  readonly epoch: string;
  offset: number;
  /** Payloads in the order of arrival. */
  readonly data: unknown[];
  unsubscribed: boolean;
  recovered: boolean | undefined;
}

type Client = Awaited<ReturnType<ReturnType<typeof engineUnderTest>['connected']>>;

interface Message {
  readonly id?: number;
  readonly error?: { readonly code: number };
  readonly subscribe?: {
    readonly epoch?: string;
    readonly offset?: number;
    readonly was_recovering?: boolean;
    readonly recovered?: boolean;
    readonly publications?: readonly { readonly data: unknown; readonly offset: number }[];
  };
  readonly push?: {
    readonly pub?: { readonly data: unknown; readonly offset: number };
    readonly unsubscribe?: { readonly code: number };
  };
}

/** Processes messages as the SDK does. */
const read = (messages: unknown[], heard: Heard): Heard => {
  let now = heard;
  for (const { subscribe, push } of messages as Message[]) {
    if (subscribe) {
      now = {
        ...now,
        epoch: subscribe.epoch ?? '',
        offset: subscribe.offset ?? 0,
        unsubscribed: false,
        recovered: subscribe.was_recovering ? (subscribe.recovered ?? false) : undefined,
      };
      for (const { data, offset } of subscribe.publications ?? []) {
        now.data.push(data);
        now.offset = offset;
      }
    }
    if (push?.pub) {
      now.data.push(push.pub.data);
      now.offset = push.pub.offset;
    }
    if (push?.unsubscribe) now.unsubscribed = true;
  }
  return now;
};
const nothing = (): Heard => ({ epoch: '', offset: 0, data: [], unsubscribed: false, recovered: undefined });

let ids = 100;
const subscribe = async (client: Client, more: object = {}) =>
  client.say({ id: ++ids, subscribe: { channel: ROOM, ...more } });
const recover = async (client: Client, heard: Heard, more: object = {}) =>
  read(await subscribe(client, { recover: true, offset: heard.offset, epoch: heard.epoch, ...more }), heard);
const publish = async (client: Client, ...data: unknown[]) => {
  const commands = data.map((one) => ({ id: ++ids, publish: { channel: ROOM, data: one } }));
  await client.say(...commands);
};

describe('positions', () => {
  test('[RC1] [RC9] given a group with history, when a client subscribes, then it receives the position, and publications carry offsets', async () => {
    const { connected } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const [empty] = (await subscribe(bob)) as Message[];
    expect(empty?.subscribe).toEqual({ recoverable: true, positioned: true, epoch: expect.any(String) });
    await publish(ann, 'one', 'two');
    const pushes = bob.wire.take() as Message[];
    expect(pushes.map(({ push }) => push?.pub?.offset)).toEqual([1, 2]);
    expect(pushes[0]?.push?.pub).toMatchObject({ epoch: empty?.subscribe?.epoch, info: { user: 'ann' } });
    const [later] = (await subscribe(ann)) as Message[];
    expect(later?.subscribe).toMatchObject({ offset: 2, epoch: empty?.subscribe?.epoch });
  });

  test('[RC2] given a position in the stream, when a client resubscribes on either gateway, then it receives what it missed', async () => {
    const broker = createMemoryBroker();
    const [one, two] = [engineUnderTest({ ...KEPT, broker }), engineUnderTest({ ...KEPT, broker })];
    const ann = await one.connected('ann');
    await publish(ann, 'a', 'b', 'c');
    const { epoch } = await broker.streams.top(ROOM, retention);
    for (const engine of [one, two, two]) {
      const client = await engine.connected('bob');
      const heard = await recover(client, { ...nothing(), epoch, offset: 1 });
      expect(heard).toMatchObject({ data: ['b', 'c'], offset: 3, recovered: true });
    }
    const client = await two.connected('bob');
    const heard = await recover(client, { ...nothing(), epoch, offset: 2 });
    await publish(ann, 'live');
    expect(read(client.wire.take(), heard).data).toEqual(['c', 'live']);
  });

  test('[RC10] given a recovered subscription, when the result is sent, then its offset is that of the client', async () => {
    const { connected, broker } = engineUnderTest(KEPT);
    const ann = await connected('ann');
    await publish(ann, 'a', 'b', 'c');
    const { epoch } = await broker.streams.top(ROOM, retention);
    const [reply] = (await subscribe(ann, { recover: true, offset: 1, epoch })) as Message[];
    expect(reply?.subscribe).toMatchObject({ offset: 1, was_recovering: true, recovered: true });
    expect(reply?.subscribe?.publications?.map(({ offset }) => offset)).toEqual([2, 3]);
  });

  test.each([
    ['another epoch', { epoch: 'other', offset: 1 }],
    ['a position beyond the end', { offset: 9 }],
    ['a position that is not kept any more', { offset: 1 }],
  ])(
    '[RC3] [RC11] given %s, when a client resubscribes, then it is not recovered and receives the current position',
    async (what, from) => {
      const { connected, broker } = engineUnderTest({ groups: { retention: { ...retention, size: 2 } } });
      const ann = await connected('ann');
      await publish(ann, 'a', 'b', 'c', 'd');
      const { epoch } = await broker.streams.top(ROOM, retention);
      const heard = await recover(ann, { ...nothing(), epoch, ...from });
      expect([what, heard]).toMatchObject([what, { data: [], offset: 4, epoch, recovered: false }]);
      const bob = await connected('bob');
      const error = await bob.say({
        id: 7,
        subscribe: { channel: ROOM, flag: 3, recover: true, epoch, ...from },
      });
      expect(error).toEqual([{ id: 7, error: { code: 112, message: 'unrecoverable position' } }]);
    },
  );

  test('[RC12] given more than 300 missed publications, when a client resubscribes, then it is not recovered', async () => {
    const { connected, broker } = engineUnderTest({ groups: { retention: { ...retention, size: 1000 } } });
    const ann = await connected('ann');
    for (let n = 0; n < 31; n++) await publish(ann, ...Array(10).fill(n));
    const { epoch } = await broker.streams.top(ROOM, retention);
    expect((await recover(ann, { ...nothing(), epoch, offset: 9 })).recovered).toBe(false);
    const bob = await connected('bob');
    expect(await recover(bob, { ...nothing(), epoch, offset: 10 })).toMatchObject({
      recovered: true,
      offset: 310,
    });
  });

  test('[RC4] [RC13] given cache mode, when a client resubscribes, then it receives the newest publication once', async () => {
    const { connected, broker } = engineUnderTest({ groups: { retention, recoveryMode: 'cache' } });
    const ann = await connected('ann');
    await publish(ann, 'a', 'b', 'c');
    const { epoch } = await broker.streams.top(ROOM, retention);
    const first = await recover(ann, { ...nothing(), epoch, offset: 1 });
    expect(first).toMatchObject({ data: ['c'], offset: 3, recovered: true });
    const bob = await connected('bob');
    expect(await recover(bob, { ...nothing(), epoch, offset: 3 })).toMatchObject({
      data: [],
      recovered: true,
    });
  });

  test('[RC5] given a client ahead of its new gateway, when it resubscribes, then it is recovered', async () => {
    const { connected, broker } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await subscribe(ann);
    broker.loses = () => true; // On its way, for a while.
    await publish(ann, 'a', 'b');
    broker.loses = undefined;
    const { epoch } = await broker.streams.top(ROOM, retention);
    expect(await recover(bob, { ...nothing(), epoch, offset: 2 })).toMatchObject({
      recovered: true,
      data: [],
    });
    expect(read(ann.wire.take(), nothing()).data).toEqual(['a', 'b']);
  });
});

describe('gaps', () => {
  test('[GP1] given a publication that the bus lost, when the next arrives, then the gap is read from the stream in order', async () => {
    const { connected, broker, metrics } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const heard = read(await subscribe(bob), nothing());
    await publish(ann, 1);
    broker.loses = () => true;
    await publish(ann, 2, 3);
    broker.loses = undefined;
    await publish(ann, 4);
    expect(read(bob.wire.take(), heard)).toMatchObject({ data: [1, 2, 3, 4], unsubscribed: false });
    expect(metrics.gaps).toEqual(['repaired']);
  });

  test('[GP2] [GP10] given a gap without a later publication, when positions are checked or the bus reconnects, then it is delivered', async () => {
    for (const find of ['audit', 'reconnect'] as const) {
      const { connected, broker, engine } = engineUnderTest(KEPT);
      const [ann, bob] = [await connected('ann'), await connected('bob')];
      const heard = read(await subscribe(bob), nothing());
      broker.loses = () => true;
      await publish(ann, 1, 2);
      broker.loses = undefined;
      if (find === 'audit') await engine.checkPositions();
      else {
        broker.stop();
        broker.start();
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
      await settle();
      expect(read(bob.wire.take(), heard)).toMatchObject({ data: [1, 2], unsubscribed: false });
    }
  });

  test('[GP3] [GP11] given a gap that is not kept, when it is detected, then subscribers are unsubscribed and not recovered', async () => {
    const { connected, broker, metrics } = engineUnderTest({
      groups: { retention: { ...retention, size: 2 } },
    });
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    let heard = read(await subscribe(bob), nothing());
    broker.loses = () => true;
    await publish(ann, 1, 2, 3, 4, 5);
    broker.loses = undefined;
    await publish(ann, 6);
    heard = read(bob.wire.take(), heard);
    expect(heard.unsubscribed).toBe(true);
    expect(metrics.gaps).toEqual(['lost']);
    heard = await recover(bob, heard);
    expect(heard).toMatchObject({ recovered: false, offset: 6 });
    await publish(ann, 7);
    expect(read(bob.wire.take(), heard).data.at(-1)).toBe(7);
  });

  test('[GP4] given a flushed stream, when positions are checked, then subscribers are unsubscribed', async () => {
    const { connected, broker, engine } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const heard = read(await subscribe(bob), nothing());
    await publish(ann, 1);
    broker.streams.flush();
    await engine.checkPositions();
    await settle();
    expect(read(bob.wire.take(), heard)).toMatchObject({ data: [1], unsubscribed: true });
  });

  test('[GP5] given a stream that went back in one epoch, when that is detected, then it has a new epoch and subscribers are unsubscribed', async () => {
    const { connected, broker } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    let heard = read(await subscribe(bob), nothing());
    await publish(ann, 1, 2, 3);
    const { epoch } = await broker.streams.top(ROOM, retention);
    broker.streams.lose(ROOM, 2);
    await publish(ann, 'other 2');
    await settle();
    heard = read(bob.wire.take(), heard);
    expect(heard).toMatchObject({ data: [1, 2, 3], unsubscribed: true });
    expect((await broker.streams.top(ROOM, retention)).epoch).not.toBe(epoch);
    heard = await recover(bob, heard);
    await publish(ann, 'next');
    expect(read(bob.wire.take(), heard)).toMatchObject({ recovered: false, data: [1, 2, 3, 'next'] });
  });

  test('[GP6] given a stream that cannot be read, when publications arrive, then they are delivered in order later', async () => {
    const { connected, broker } = engineUnderTest(KEPT);
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const heard = read(await subscribe(bob), nothing());
    broker.loses = () => true;
    await publish(ann, 1);
    broker.loses = undefined;
    await publish(ann, 2);
    broker.stop();
    await settle();
    broker.start();
    await new Promise((resolve) => setTimeout(resolve, 150));
    await publish(ann, 3);
    expect(read(bob.wire.take(), heard).data).toEqual([1, 2, 3]);
  });

  test('[GP12] given a failed read of a stream, when it is readable again, then the gap is delivered without a position check', async () => {
    const broker = createMemoryBroker();
    const { read: readStream } = broker.streams;
    let isReadable = true;
    Object.assign(broker.streams, {
      read: async (...asked: Parameters<typeof readStream>) => {
        if (!isReadable) throw new AppError('REDIS_UNAVAILABLE');
        return readStream(...asked);
      },
    });
    const { connected } = engineUnderTest({ ...KEPT, broker });
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const heard = read(await subscribe(bob), nothing());
    broker.loses = () => true;
    await publish(ann, 1);
    broker.loses = undefined;
    isReadable = false;
    await publish(ann, 2);
    expect(read(bob.wire.take(), heard).data).toEqual([]);
    isReadable = true;
    await until(() => read(bob.wire.take(), heard).data.length === 2, { what: 'what was missed' });
    expect(heard.data).toEqual([1, 2]);
  });
});

type Step =
  | { readonly do: 'publish' | 'drop' | 'audit'; readonly who: number }
  | { readonly do: 'lose'; readonly on: boolean };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('publish' as const), who: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('drop' as const), who: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('audit' as const), who: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), on: fc.boolean() }) },
  ),
  { maxLength: 25 },
);

describe('delivery', () => {
  test('[GP7] given any order of losses, drops and resumes, when it has ended, then every subscriber has everything once and in order', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        const broker = createMemoryBroker();
        const engines = [0, 1, 2].map(() => engineUnderTest({ ...KEPT, broker }));
        const publisher = await engines[0]!.connected('ann');
        const readers = await Promise.all(
          engines.map(async (engine) => {
            const client = await engine.connected('bob');
            return { engine, client, heard: read(await subscribe(client), nothing()) };
          }),
        );
        let published = 0;
        for (const step of plan) {
          if (step.do === 'lose') broker.loses = step.on ? () => true : undefined;
          else if (step.do === 'publish') await publish(publisher, published++);
          else if (step.do === 'audit') await engines[step.who]!.engine.checkPositions();
          else {
            const reader = readers[step.who]!;
            reader.heard = read(reader.client.wire.take(), reader.heard);
            reader.client.connection.onClosed(1006);
            const next = readers[(step.who + 1) % 3]!.engine;
            reader.client = await next.connected('bob');
            reader.heard = await recover(reader.client, reader.heard);
            expect(reader.heard.recovered).toBe(true);
          }
        }
        broker.loses = undefined;
        await publish(publisher, published++);
        await settle();
        for (const reader of readers) {
          reader.heard = read(reader.client.wire.take(), reader.heard);
          expect(reader.heard.data).toEqual(Array.from({ length: published }, (_, n) => n));
          expect(reader.heard.unsubscribed).toBe(false);
        }
      }),
      { numRuns: 40 },
    );
  }, 30_000);
});
