import type { GroupName } from '@muster/protocol/ids';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { protobufCodec } from './codec.ts';
import { DELTA_NOTE } from './delta-audience.ts';
import { engineUnderTest, FakeWire, settle } from './testing.ts';

const ROOM = 'room' as GroupName;
const retention = { size: 50, ttlMs: 60_000, metaTtlMs: 120_000 };
const KEPT = { groups: { retention } };

interface Pub {
  readonly data: unknown;
  readonly delta?: boolean;
  readonly offset?: number;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const pubs = (messages: unknown[]): Pub[] => (messages as any[]).flatMap((one) => one.push?.pub ?? []);
const text = (index: number) => `a text of some length, so that a delta pays: żółć ${index}`;
const whole = (value: unknown) => ({ data: JSON.stringify(value) });

let ids = 10;
const started = (options: Parameters<typeof engineUnderTest>[0] = KEPT) => {
  const under = engineUnderTest(options);
  const subscriber = async (user: string, more: object = {}) => {
    const client = await under.connected(user);
    const [reply] = await client.say({ id: ++ids, subscribe: { channel: ROOM, delta: 'fossil', ...more } });
    return { ...client, reply, heard: () => pubs(client.wire.take()) };
  };
  const publish = async (...data: unknown[]) => {
    const client = await under.connected('bob');
    await client.say(...data.map((one) => ({ id: ++ids, publish: { channel: ROOM, data: one } })));
  };
  return { ...under, subscriber, publish };
};

describe('deltas', () => {
  test('[DL3] the first publication is whole, as a string, the following ones are deltas of the one before', async () => {
    const { subscriber, publish } = started();
    const ann = await subscriber('ann');
    expect(ann.reply).toMatchObject({ subscribe: { delta: true, recoverable: true } });
    await publish(text(1), text(2), text(3));
    const heard = ann.heard();
    expect(heard[0]).toMatchObject({ ...whole(text(1)), offset: 1 });
    expect(heard.map(({ delta }) => delta)).toEqual([undefined, true, true]);
    expect(String(heard[1]?.data).length).toBeLessThan(text(2).length);
  });

  test('[DL3] nothing in common, or nothing to gain: the payload is whole', async () => {
    const { subscriber, publish } = started();
    const ann = await subscriber('ann');
    await publish('one', { quite: 'another' }, 3);
    expect(ann.heard()).toMatchObject([whole('one'), whole({ quite: 'another' }), whole(3)]);
  });

  test('[DL4] who comes later, or was left out of one, gets the next one whole; others get their delta', async () => {
    const { subscriber, publish, engine } = started();
    const ann = await subscriber('ann');
    await publish(text(1));
    const late = await subscriber('ann');
    await publish(text(2));
    expect(ann.heard().map(({ delta }) => delta)).toEqual([undefined, true]);
    expect(late.heard()).toMatchObject([whole(text(2))]);
    await engine.api.call('publish', {
      channel: ROOM,
      data: text(3),
      exclude: { client: ann.connection.id },
    });
    await settle();
    expect(ann.heard()).toEqual([]);
    expect(late.heard()).toMatchObject([{ delta: true }]);
    await publish(text(4), text(5));
    expect(ann.heard()).toMatchObject([whole(text(4)), { delta: true }]);
    expect(late.heard()).toMatchObject([{ delta: true }, { delta: true }]);
  });

  test('[DL4] publications that wait for each other are deltas of each other', async () => {
    const { subscriber, publish } = started({ ...KEPT, gatherMs: 20 });
    const ann = await subscriber('ann');
    await publish(text(1), text(2), text(3));
    await new Promise((resolve) => setTimeout(resolve, 60));
    await settle();
    expect(ann.heard().map(({ delta }) => delta)).toEqual([undefined, true, true]);
  });

  test('[DL5] recovered publications begin with a whole one; the first live one after them is whole', async () => {
    const { subscriber, publish } = started();
    const first = await subscriber('ann');
    await publish(text(1), text(2), text(3));
    const { epoch } = (first.reply as { subscribe: { epoch: string } }).subscribe;
    const back = await subscriber('ann', { recover: true, offset: 1, epoch });
    const { publications } = (back.reply as { subscribe: { publications: Pub[] } }).subscribe;
    expect(publications).toMatchObject([whole(text(2)), { delta: true, offset: 3 }]);
    await publish(text(4));
    expect(back.heard()).toMatchObject([whole(text(4))]);
  });

  test('[DL5] a gap that is repaired leaves no delta without its base', async () => {
    const { subscriber, publish, broker } = started();
    const ann = await subscriber('ann');
    await publish(text(1));
    broker.loses = () => true;
    await publish(text(2));
    broker.loses = undefined;
    await publish(text(3));
    expect(ann.heard().map(({ offset, delta }) => [offset, delta])).toEqual([
      [1, undefined],
      [2, true],
      [3, true],
    ]);
  });

  test('[DL5] in cache mode the one publication is whole', async () => {
    const { subscriber, publish } = started({ groups: { retention, recoveryMode: 'cache' } });
    await publish(text(1), text(2));
    const { reply } = await subscriber('ann', { recover: true });
    expect(reply).toMatchObject({ subscribe: { recovered: true, publications: [whole(text(2))] } });
  });

  test('[DL6] a group may forbid them, and a filter excludes them', async () => {
    const { subscriber } = started({ groups: { retention, allowedDeltaTypes: [] } });
    const { reply } = await subscriber('ann');
    expect(reply).not.toMatchObject({ subscribe: { delta: true } });
    const filtered = await started().subscriber('ann', { tf: { key: 'a', cmp: 'ex' } });
    expect(filtered.reply).not.toMatchObject({ subscribe: { delta: true } });
  });

  test('[DL6] without `delta_publish` only publications marked by their publisher are deltas', async () => {
    const { subscriber, publish, engine } = started({ groups: { retention, deltaPublish: false } });
    const ann = await subscriber('ann');
    await publish(text(1), text(2));
    await engine.api.call('publish', { channel: ROOM, data: text(3), delta: true });
    await settle();
    await publish(text(4));
    expect(DELTA_NOTE).toBe('delta');
    expect(ann.heard()).toMatchObject([whole(text(1)), whole(text(2)), { delta: true }, whole(text(4))]);
  });

  test('[DL4] a Protobuf subscriber and one with numbers for names get theirs in their form', async () => {
    const { subscriber, publish, engine } = started();
    const json = await subscriber('ann', { flag: 1 });
    const wire = new FakeWire();
    const frames: Buffer[] = [];
    wire.write = (frame) => void frames.push(frame);
    const proto = engine.open(wire, { tokens: [], origin: undefined, codec: protobufCodec });
    const field = (number: number, ...bytes: number[]) => [number * 8 + 2, bytes.length, ...bytes];
    const ascii = (value: string) => [...Buffer.from(value)];
    const command = (id: number, method: number, ...body: number[]) => {
      const bytes = [8, id, ...field(method, ...body)];
      return Buffer.from([bytes.length, ...bytes]);
    };
    proto.onBinary(command(1, 4, ...field(1, ...ascii('ann'))));
    await settle();
    proto.onBinary(command(2, 5, ...field(1, ...ascii(ROOM)), ...field(12, ...ascii('fossil'))));
    await settle();
    frames.length = 0;
    await publish(text(1), text(2));
    const [first, second] = frames.map((frame) => frame.toString());
    expect(first).toContain(`"${text(1)}"`);
    expect(second).not.toContain(text(2));
    expect(second?.length).toBeLessThan(first?.length ?? 0);
    expect(json.reply).toMatchObject({ subscribe: { id: expect.any(Number), delta: true } });
    const messages = json.wire.take() as { push: { id: number; channel?: string } }[];
    expect(messages.map(({ push }) => [push.id, push.channel])).toEqual([
      [1, undefined],
      [1, undefined],
    ]);
    expect(pubs(messages).map(({ delta }) => delta)).toEqual([undefined, true]);
  });

  test('[DL4] whatever happens, a delta comes only to whom the publication before it came', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constant({ is: 'publish' as const }) },
      fc.record({ is: fc.constant('exclude' as const), who: fc.nat(2) }),
      fc.record({ is: fc.constant('loses' as const) }),
      fc.record({ is: fc.constant('stops' as const), who: fc.nat(2) }),
      fc.record({ is: fc.constant('reads' as const), who: fc.nat(2) }),
      fc.record({ is: fc.constant('again' as const), who: fc.nat(2) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const groups = { retention, slowPolicy: 'lag' } as const;
        const { subscriber, engine, broker, pass } = started({ groups, limits: { maxOutboxBytes: 4_096 } });
        const members = [await subscriber('ann'), await subscriber('bob'), await subscriber('ann')];
        const heard: Pub[][] = members.map(() => []);
        let number = 0;
        const publishOne = async (more: object = {}) => {
          number += 1;
          const data = `${number} ${'text '.repeat(250)} ${number}`;
          await engine.api.call('publish', { channel: ROOM, data, ...more });
          await settle();
        };
        for (const one of steps) {
          const member = 'who' in one ? members[one.who] : undefined;
          if (one.is === 'publish') await publishOne();
          else if (one.is === 'exclude') await publishOne({ exclude: { client: member?.connection.id } });
          else if (one.is === 'stops' && member) member.wire.isRead = false;
          else if (one.is === 'reads' && member) {
            member.wire.isRead = true;
            member.wire.read();
            await pass(500);
          } else if (one.is === 'loses') {
            broker.loses = () => true;
            await publishOne();
            broker.loses = undefined;
            await publishOne();
          } else if (one.is === 'again' && member && 'who' in one) {
            heard[one.who]?.push(...member.heard());
            await member.say({ id: ++ids, unsubscribe: { channel: ROOM } });
            heard[one.who]?.push({ data: 'a new life' });
            await member.say({ id: ++ids, subscribe: { channel: ROOM, delta: 'fossil' } });
          }
          for (const [index, { heard: take }] of members.entries()) heard[index]?.push(...take());
        }
        for (const pubs of heard) {
          for (const [index, { delta, offset = 0 }] of pubs.entries()) {
            if (delta) expect(pubs[index - 1]?.offset).toBe(offset - 1);
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});
