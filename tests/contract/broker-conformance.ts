import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import { AppError } from '@muster/protocol/errors';
import { describe, expect, test } from 'vitest';
import { type BusFixture, type BusUnderTest, createBusFixture } from './conformance-fixture.ts';
import { streamConformance } from './stream-conformance.ts';

/** The rules of SPEC.md that every adapter of the bus keeps. */
export const busConformance = (adapter: string, open: () => Promise<BusUnderTest>): void => {
  describe(`bus on ${adapter}`, () => {
    const fixture = createBusFixture(open);
    delivery(fixture);
    onceOnly(fixture);
    subscriptions(fixture);
    outages(fixture);
    streamConformance(fixture);
  });
};

const delivery = (fixture: BusFixture): void => {
  test('[BU1] given subscribed replicas, when a message is published, then each receives it, the publisher included', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await Promise.all([a.bus.subscribe(group('room')), b.bus.subscribe(group('room'))]);
    await a.bus.publish(group('room'), message('one'));
    await expect.poll(() => [a.texts, b.texts]).toEqual([['room one'], ['room one']]);
  });

  test('[BU2] given a replica without a subscription, when a message is published, then it does not receive it', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await Promise.all([a.bus.subscribe(group('room')), b.bus.subscribe(group('other'))]);
    await a.bus.publish(group('room'), message('one'));
    await a.bus.publish(group('other'), message('two'));
    await expect.poll(() => b.texts).toEqual(['other two']);
    expect(a.texts).toEqual(['room one']);
  });

  test('[BU3] given messages of one replica to one group, when they are published, then they arrive in order', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await b.bus.subscribe(group('room'));
    const texts = Array.from({ length: 200 }, (_, index) => String(index));
    await Promise.all(texts.map((text) => a.bus.publish(group('room'), message(text))));
    await expect.poll(() => b.texts).toEqual(texts.map((text) => `room ${text}`));
  });

  test('[BU4] given a message, when it arrives, then bytes, position and payload offset are unchanged', async () => {
    const { bus, received } = await fixture.replica();
    await bus.subscribe(group('room'));
    const sent: BusMessage = {
      kind: 'publication',
      body: Buffer.from([0, 10, 13, 255, 123, 10]),
      dataAt: 1,
      dataLength: 4,
      offset: 41,
      epoch: 'Kd8',
      attributes: ['x=1', 'y'],
    };
    await bus.publish(group('room'), sent);
    await expect.poll(() => received).toEqual([sent]);
  });
};

const onceOnly = (fixture: BusFixture): void => {
  test('[BU15] given a used idempotency key, when a message is published again, then only the first arrives, in each group', async () => {
    const { bus, texts } = await fixture.replica();
    await Promise.all([bus.subscribe(group('room')), bus.subscribe(group('other'))]);
    await Promise.all(['one', 'two'].map((text) => bus.publish(group('room'), message(text), 'key')));
    await bus.publish(group('other'), message('three'), 'key');
    await bus.publish(group('room'), message('four'));
    await expect.poll(() => texts).toHaveLength(3);
    expect(texts).toEqual(['room one', 'other three', 'room four']);
  });
};

const subscriptions = (fixture: BusFixture): void => {
  test.each(['__proto__', 'a{b}c', '}', '{}', '%7B', 'a b', '$#*?[x]'])(
    '[BU5] given the group %j, when it is used, then no other group receives its messages',
    async (name) => {
      const [a, b] = [await fixture.replica(), await fixture.replica()];
      await Promise.all([a.bus.subscribe(group(name)), b.bus.subscribe(group(`${name}x`))]);
      await b.bus.publish(group(name), message('hello'));
      await expect.poll(() => a.texts).toEqual([`${name} hello`]);
      expect(b.texts).toEqual([]);
    },
  );

  test('[BU6] given a group that is unsubscribed and subscribed again at once, when a message is published, then it arrives', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await a.bus.subscribe(group('room'));
    a.bus.unsubscribe(group('room'));
    await a.bus.subscribe(group('room'));
    await b.bus.publish(group('room'), message('one'));
    await expect.poll(() => a.texts).toEqual(['room one']);
    expect(a.bus.subscriptions()).toBe(1);
  });
};

const outages = (fixture: BusFixture): void => {
  test('[BU11] given a query to all replicas, when it is sent, then every replica answers, the sender included', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await expect.poll(() => a.bus.query({ what: 'name' }, 300)).toHaveLength(2);
    expect((await b.bus.query({ what: 'name' }, 2_000)).toSorted()).toEqual(['replica 1: name', 'replica 2: name']);
  });

  test('[BU7] given a lost connection, when a replica publishes or subscribes, then it fails at once with the reason', async () => {
    const a = await fixture.replica();
    await fixture.subject().cut();
    await expect.poll(() => a.bus.isUp()).toBe(false);
    const unavailable = expect.objectContaining({ code: 'REDIS_UNAVAILABLE' });
    await expect(a.bus.publish(group('room'), message('one'))).rejects.toEqual(unavailable);
    await expect(a.bus.subscribe(group('room'))).rejects.toBeInstanceOf(AppError);
    await fixture.subject().restore();
  });

  test('[BU8] given an outage, when it ends, then the groups receive messages again and the owner is notified', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await Promise.all([a.bus.subscribe(group('room')), a.bus.subscribe(group('second'))]);
    await fixture.subject().cut();
    await expect.poll(() => a.bus.isUp()).toBe(false);
    await fixture.subject().restore();
    await expect.poll(() => a.reconnects(), { timeout: 10_000 }).toBe(1);
    await expect.poll(() => b.bus.isUp(), { timeout: 10_000 }).toBe(true);
    const retry = async () =>
      b.bus.publish(group('second'), message('back')).then(
        () => true,
        () => false,
      );
    await expect.poll(retry, { timeout: 10_000 }).toBe(true);
    await expect.poll(() => a.texts).toContain('second back');
    expect(a.bus.subscriptions()).toBe(2);
  });
};

/** A group name, unparsed. */
const group = (text: string): GroupKey => text as GroupKey;

const message = (text: string): BusMessage => {
  const body = Buffer.from(text);
  return {
    kind: 'publication',
    body,
    dataAt: 0,
    dataLength: body.length,
    offset: 0,
    epoch: '',
    attributes: [],
  };
};
