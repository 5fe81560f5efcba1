import type { GroupName } from '@muster/protocol/ids';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { protobufCodec } from '../connection/codec.ts';
import { engineUnderTest, FakeWire, settle } from '../engine-fixture.ts';
import { DELTA_ATTRIBUTE } from './delta-subscribers.ts';

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

const payload = (number: number) => `${number} ${'text '.repeat(40)} ${number}`;

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~';

/** Applies a delta to a text without characters beyond ASCII. */
const applied = (base: string, delta: string): string => {
  const pieces = delta.slice(delta.indexOf('\n') + 1);
  let made = '';
  for (let at = 0; at < pieces.length; ) {
    const [all, count = '', kind, offset = ''] = /^([\w~]+)(?:([:;])|@([\w~]+),)/.exec(pieces.slice(at)) ?? [''];
    const numberOf = (digits: string) => [...digits].reduce((sum, digit) => sum * 64 + DIGITS.indexOf(digit), 0);
    at += Math.max(1, all.length);
    if (kind === ';') return made;
    if (kind === ':') {
      made += pieces.slice(at, at + numberOf(count));
      at += numberOf(count);
    } else made += base.slice(numberOf(offset), numberOf(offset) + numberOf(count));
  }
  return 'unterminated';
};

/** Reads publications as an SDK does, and notes payloads that were never published. */
const createReader = () => {
  let base = '';
  const numbers: number[] = [];
  const wrong: string[] = [];
  return {
    numbers,
    wrong,
    read: (messages: unknown[]): void => {
      for (const { data, delta } of pubs(messages)) {
        base = delta ? applied(base, String(data)) : String(data);
        const number = Number.parseInt(base.slice(1), 10);
        if (base === JSON.stringify(payload(number))) numbers.push(number);
        else wrong.push(base.slice(0, 40));
      }
    },
  };
};

describe('deltas', () => {
  test('[DL3] given a delta subscriber, when publications are made, then the first is whole and those after it are deltas', async () => {
    const { subscriber, publish } = started();
    const ann = await subscriber('ann');
    expect(ann.reply).toMatchObject({ subscribe: { delta: true, recoverable: true } });
    await publish(text(1), text(2), text(3));
    const heard = ann.heard();
    expect(heard[0]).toMatchObject({ ...whole(text(1)), offset: 1 });
    expect(heard.map(({ delta }) => delta)).toEqual([undefined, true, true]);
    expect(String(heard[1]?.data).length).toBeLessThan(text(2).length);
  });

  test('[DL3] given payloads without a gain by a delta, when they are published, then they are whole', async () => {
    const { subscriber, publish } = started();
    const ann = await subscriber('ann');
    await publish('one', { quite: 'another' }, 3);
    expect(ann.heard()).toMatchObject([whole('one'), whole({ quite: 'another' }), whole(3)]);
  });

  test('[DL4] given a subscriber that missed a publication, when the next is made, then it is whole, and others receive their delta', async () => {
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

  test('[DL4] given a batch of publications, when it is written, then they are deltas of each other', async () => {
    const { subscriber, publish } = started({ ...KEPT, publishBatchWindowMs: 20 });
    const ann = await subscriber('ann');
    await publish(text(1), text(2), text(3));
    await new Promise((resolve) => setTimeout(resolve, 60));
    await settle();
    expect(ann.heard().map(({ delta }) => delta)).toEqual([undefined, true, true]);
  });

  test('[DL5] given a recovered subscriber, when it receives publications, then the first is whole', async () => {
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

  test('[DL5] given a repaired gap, when deltas are sent, then each has its predecessor', async () => {
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

  test('[DL5] given cache mode, when a client recovers, then the publication is whole', async () => {
    const { subscriber, publish } = started({ groups: { retention, recoveryMode: 'cache' } });
    await publish(text(1), text(2));
    const { reply } = await subscriber('ann', { recover: true });
    expect(reply).toMatchObject({ subscribe: { recovered: true, publications: [whole(text(2))] } });
  });

  test('[DL6] given a group that forbids deltas, or a filter, when a client requests deltas, then it receives whole payloads', async () => {
    const { subscriber } = started({ groups: { retention, allowedDeltaTypes: [] } });
    const { reply } = await subscriber('ann');
    expect(reply).not.toMatchObject({ subscribe: { delta: true } });
    const filtered = await started().subscriber('ann', { tf: { key: 'a', cmp: 'ex' } });
    expect(filtered.reply).not.toMatchObject({ subscribe: { delta: true } });
  });

  test('[DL6] given delta_publish off, when publications are made, then only those marked by their publisher are deltas', async () => {
    const { subscriber, publish, engine } = started({ groups: { retention, deltaPublish: false } });
    const ann = await subscriber('ann');
    await publish(text(1), text(2));
    await engine.api.call('publish', { channel: ROOM, data: text(3), delta: true });
    await settle();
    await publish(text(4));
    expect(DELTA_ATTRIBUTE).toBe('delta');
    expect(ann.heard()).toMatchObject([whole(text(1)), whole(text(2)), { delta: true }, whole(text(4))]);
  });

  test('[DL4] given a Protobuf subscriber and channel compaction, when deltas are sent, then each has its own form', async () => {
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
    proto.onFrame(command(1, 4, ...field(1, ...ascii('ann'))));
    await settle();
    proto.onFrame(command(2, 5, ...field(1, ...ascii(ROOM)), ...field(12, ...ascii('fossil'))));
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

  test('[DL4] given any sequence of events, when deltas are applied, then the results are what was published', async () => {
    const who = fc.nat(2);
    const step = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({ is: fc.constant('publish' as const), isKept: fc.boolean(), count: fc.nat(4) }),
      },
      fc.record({ is: fc.constant('exclude' as const), who }),
      fc.record({ is: fc.constant('loses' as const) }),
      fc.record({ is: fc.constant('stops' as const), who }),
      fc.record({ is: fc.constant('reads' as const), who }),
      fc.record({ is: fc.constant('again' as const), who }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const groups = { retention, slowPolicy: 'lag' } as const;
        const { subscriber, engine, broker, pass } = started({ groups, limits: { maxSendBufferBytes: 600 } });
        const members = [await subscriber('ann'), await subscriber('bob'), await subscriber('ann')];
        const readers = members.map(() => createReader());
        let number = 0;
        const publishOne = async (more: object = {}) => {
          number += 1;
          await engine.api.call('publish', { channel: ROOM, data: payload(number), ...more });
          await settle();
        };
        const listen = () => {
          for (const [index, { wire }] of members.entries()) readers[index]?.read(wire.take());
        };
        for (const one of steps) {
          const member = 'who' in one ? members[one.who] : undefined;
          if (one.is === 'publish') {
            for (let done = 0; done <= one.count; done++) await publishOne({ skip_history: !one.isKept });
          } else if (one.is === 'exclude') await publishOne({ exclude: { client: member?.connection.id } });
          else if (one.is === 'loses') {
            broker.loses = () => true;
            await publishOne();
            broker.loses = undefined;
            await publishOne();
          } else if (one.is === 'stops' && member) member.wire.isRead = false;
          else if (one.is === 'reads' && member) {
            member.wire.isRead = true;
            member.wire.read();
            await pass(500);
          } else if (member) {
            await member.say({ id: ++ids, unsubscribe: { channel: ROOM } });
            await member.say({ id: ++ids, subscribe: { channel: ROOM, delta: 'fossil' } });
          }
          listen();
        }
        for (const { numbers, wrong } of readers) {
          expect(wrong).toEqual([]);
          expect(numbers).toEqual([...numbers].sort((one, other) => one - other));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('[DL4] given a subscriber that missed an unkept publication, when the next delta is due, then it is unsubscribed', async () => {
    const { subscriber, engine } = started({ groups: { retention, slowPolicy: 'lag' } });
    const ann = await subscriber('ann');
    const publishOne = async (number: number, more: object = {}) => {
      await engine.api.call('publish', { channel: ROOM, data: payload(number), ...more });
      await settle();
    };
    await publishOne(1);
    ann.wire.bufferedBytes = 1_048_576;
    await publishOne(2, { skip_history: true });
    ann.wire.bufferedBytes = 0;
    await publishOne(3);
    expect(ann.wire.take()).toMatchObject([
      { push: { pub: whole(payload(1)) } },
      { push: { unsubscribe: { code: 2500 } } },
    ]);
  });

  test('[DL4] [OB1] given several delta subscribers, when a publication is delivered, then the delta is built once', async () => {
    const { subscriber, publish } = started();
    const members = [await subscriber('ann'), await subscriber('bob')];
    const frames = members.map(({ wire }) => {
      const written: Buffer[] = [];
      wire.write = (frame) => void written.push(frame);
      return written;
    });
    await publish(text(1), text(2));
    expect(frames[0]).toHaveLength(2);
    for (const index of [0, 1]) expect(frames[0]?.[index]).toBe(frames[1]?.[index]);
  });
});
