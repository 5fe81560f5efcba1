import type { GroupKey } from '@muster/bus/group-key';
import { encodeForPublish, type StreamEntry } from '@muster/bus/publication-encoding';
import type { StreamRetention } from '@muster/bus/streams';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BusFixture } from './conformance-fixture.ts';

const RETENTION: StreamRetention = { size: 5, ttlMs: 60_000, metaTtlMs: 120_000 };
const ROOM = 'room' as GroupKey;
const OPTIONS = { retention: RETENTION };
const draft = (data: unknown) => encodeForPublish(ROOM, { data: JSON.stringify(data), tags: { lang: 'pl' } }, ['x=1']);

const unchanged = (group: GroupKey) => ({ group, keepMs: 0 });

/** The rules of streams that every adapter keeps. */
export const streamConformance = (fixture: BusFixture): void => {
  appending(fixture);
  onlyIfSubscribed(fixture);
  boundedReading(fixture);
  exactlyOnce(fixture);
  losses(fixture);
};

const appending = (fixture: BusFixture): void => {
  test('[ST20] given a publication, when it is appended, then the message that arrives equals the stored one, with its position', async () => {
    const { bus, received } = await fixture.replica();
    await bus.subscribe(ROOM);
    const first = await bus.append(ROOM, draft('zażółć'), OPTIONS);
    const second = await bus.append(ROOM, draft({ n: 2 }), OPTIONS);
    expect([first.offset, second.offset]).toEqual([1, 2]);
    expect(second.epoch).toBe(first.epoch);
    await expect.poll(() => received.length).toBe(2);
    const { entries } = await bus.read(ROOM, { limit: 10, retention: RETENTION });
    for (const [index, entry] of entries.entries()) {
      const message = received[index];
      const { push } = JSON.parse(String(message?.body));
      expect(push).toEqual({ channel: ROOM, pub: JSON.parse(entry.text) });
      expect(push.pub.offset).toBe(index + 1);
      expect(push.pub.tags).toEqual({ lang: 'pl' });
      expect(message).toMatchObject({ offset: index + 1, epoch: first.epoch, attributes: ['x=1'] });
      expect(entry.attributes).toEqual(['x=1']);
      const data = message?.body.subarray(message.dataAt, message.dataAt + message.dataLength);
      expect(JSON.parse(String(data))).toEqual(push.pub.data);
    }
  });

  test('[ST20] given several publishers, when they append, then bus order is stream order', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    await a.bus.subscribe(ROOM);
    const appends = Array.from({ length: 50 }, (_, n) => (n % 2 ? a : b).bus.append(ROOM, draft(n), OPTIONS));
    await Promise.all(appends);
    await expect.poll(() => a.received.length).toBe(50);
    expect(a.received.map(({ offset }) => offset)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  });

  test('[ST21] given a full stream, when it is read, then it returns the newest publications after an offset or newest first', async () => {
    const { bus } = await fixture.replica();
    for (let n = 1; n <= 8; n++) await bus.append(ROOM, draft(n), OPTIONS);
    const offsets = async (query: object) =>
      (await bus.read(ROOM, { limit: 10, retention: RETENTION, ...query })).entries.map(({ offset }) => offset);
    expect(await offsets({})).toEqual([4, 5, 6, 7, 8]);
    expect(await offsets({ from: 6 })).toEqual([7, 8]);
    expect(await offsets({ from: 0, limit: 2 })).toEqual([4, 5]);
    expect(await offsets({ reverse: true, limit: 2 })).toEqual([8, 7]);
    expect(await offsets({ reverse: true, from: 7 })).toEqual([6, 5, 4]);
    expect(await offsets({ from: 8 })).toEqual([]);
    expect((await bus.read(ROOM, { limit: 1, retention: RETENTION })).top.offset).toBe(8);
  });

  test('[ST22] given an empty stream, when it is read, then its epoch is that of the first publication', async () => {
    const { bus, received } = await fixture.replica();
    await bus.subscribe(ROOM);
    const top = await bus.top(ROOM, RETENTION);
    expect(top).toEqual({ offset: 0, epoch: expect.stringMatching(/^.+$/) });
    expect(await bus.read(ROOM, { limit: 9, retention: RETENTION })).toEqual({
      top,
      entries: [],
      remainingMs: 0,
    });
    await bus.append(ROOM, draft(1), OPTIONS);
    await bus.append(ROOM, draft(2), OPTIONS);
    await expect.poll(() => received.length).toBe(2);
    const epochs = received.map(({ body }) => JSON.parse(String(body)).push.pub.epoch);
    expect(epochs).toEqual([top.epoch, undefined]);
    const missing = 'missing' as GroupKey;
    const end = { offset: 2, epoch: top.epoch };
    expect(await bus.tops([ROOM, missing].map(unchanged))).toEqual([end, undefined]);
    for (const known of [end, top, { ...end, epoch: 'other' }]) {
      const queries = [ROOM, missing].map((group) => ({ group, known, keepMs: 0 }));
      expect(await bus.tops(queries)).toEqual([end, undefined]);
    }
  });

  test('[ST21] [ST22] given streams with and without publications, when the newest is read, then it is that of a read of one, newest first', async () => {
    const { bus } = await fixture.replica();
    const groups = ['one', 'many', 'none'].map((name) => name as GroupKey);
    for (const [at, count] of [1, 8, 0].entries()) {
      for (let n = 0; n < count; n++) await bus.append(groups[at] as GroupKey, draft(n), OPTIONS);
    }
    const pages = await Promise.all(groups.map((group) => bus.newest(group, RETENTION)));
    const query = { limit: 1, reverse: true, retention: RETENTION };
    for (const [at, group] of groups.entries()) {
      const { remainingMs, ...expected } = await bus.read(group, query);
      expect(pages[at]).toEqual({ ...expected, remainingMs: expect.closeTo(remainingMs, -4) });
    }
  });
};

const boundedReading = (fixture: BusFixture): void => {
  test('[ST31] given a limit in bytes, when a stream is read in either order, then it stops there, after one entry at least', async () => {
    const { bus } = await fixture.replica();
    const long = { ...RETENTION, size: 100 };
    const sizes = Array.from({ length: 40 }, (_, n) => (n % 9 === 0 ? 4_000 : 100 + n));
    for (const [n, size] of sizes.entries()) {
      const publication = { data: JSON.stringify(`${n}${'x'.repeat(size)}`) };
      await bus.append(ROOM, encodeForPublish(ROOM, publication), { retention: long });
    }
    const all = (await bus.read(ROOM, { limit: 100, retention: long })).entries;
    const property = fc.asyncProperty(
      fc.record({
        maxBytes: fc.integer({ min: 1, max: 30_000 }),
        limit: fc.integer({ min: 1, max: 50 }),
        from: fc.integer({ min: 0, max: 41 }),
        reverse: fc.boolean(),
      }),
      async (query) => {
        const { entries, remainingMs } = await bus.read(ROOM, { ...query, retention: long });
        const inRange = ({ offset }: StreamEntry) => (query.reverse ? offset < query.from : offset > query.from);
        const wanted = (query.reverse ? all.toReversed() : all).filter(inRange).slice(0, query.limit);
        let bytes = 0;
        const end = wanted.findIndex(({ text }, at) => {
          bytes += text.length;
          return at > 0 && bytes > query.maxBytes;
        });
        expect(entries).toEqual(end < 0 ? wanted : wanted.slice(0, end));
        expect(remainingMs).toBeGreaterThan(long.ttlMs / 2);
        expect(remainingMs).toBeLessThanOrEqual(long.ttlMs);
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });
};

const onlyIfSubscribed = (fixture: BusFixture): void => {
  test('[ST29] given `onlyIfSubscribed`, when no replica subscribes and no stream exists, then nothing is kept; otherwise the option has no effect', async () => {
    const [a, b] = [await fixture.replica(), await fixture.replica()];
    const cautious = { ...OPTIONS, onlyIfSubscribed: true };
    expect(await a.bus.append(ROOM, draft(1), cautious)).toEqual({
      offset: 0,
      epoch: '',
      outcome: 'no_subscribers',
    });
    expect(await a.bus.tops([unchanged(ROOM)])).toEqual([undefined]);
    await b.bus.subscribe(ROOM);
    const first = await a.bus.append(ROOM, draft(2), cautious);
    expect(first).toMatchObject({ offset: 1, outcome: 'published' });
    await expect.poll(() => b.received.length).toBe(1);
    b.bus.unsubscribe(ROOM);
    // There is a stream now, so clients may recover from it.
    expect(await a.bus.append(ROOM, draft(3), cautious)).toMatchObject({ offset: 2, epoch: first.epoch });
    const other = 'other' as GroupKey;
    expect(await a.bus.append(other, draft(4), OPTIONS)).toMatchObject({ outcome: 'published' });
  });
};

const exactlyOnce = (fixture: BusFixture): void => {
  test('[ST23] given a used idempotency key, when it is used again, then nothing is published and the first result is returned', async () => {
    const { bus, received } = await fixture.replica();
    await bus.subscribe(ROOM);
    const keyed = { ...OPTIONS, idempotencyKey: 'm-1' };
    const answers = await Promise.all([1, 2, 3].map((n) => bus.append(ROOM, draft(n), keyed)));
    expect(answers.map(({ offset, outcome }) => [offset, outcome])).toEqual([
      [1, 'published'],
      [1, 'repeated'],
      [1, 'repeated'],
    ]);
    await bus.append(ROOM, draft(4), OPTIONS);
    await expect.poll(() => received.map(({ offset }) => offset)).toEqual([1, 2]);
  });

  test('[ST24] given a versioned publication, when its version is not newer in the same version epoch, then it is not accepted', async () => {
    const { bus } = await fixture.replica();
    const at = async (number: number, epoch: string) =>
      (await bus.append(ROOM, draft(number), { ...OPTIONS, version: { number, epoch } })).outcome;
    expect(await at(3, 'a')).toBe('published');
    expect(await at(3, 'a')).toBe('outdated');
    expect(await at(2, '')).toBe('outdated');
    expect(await at(4, 'a')).toBe('published');
    expect(await at(1, 'b')).toBe('published');
    expect((await bus.top(ROOM, RETENTION)).offset).toBe(3);
  });
};

const losses = (fixture: BusFixture): void => {
  test('[ST25] given the loss of all data, when a publication is appended, then the stream starts again with a new epoch', async () => {
    const { bus } = await fixture.replica();
    const before = await bus.append(ROOM, draft(1), OPTIONS);
    await fixture.subject().flush();
    expect(await bus.tops([unchanged(ROOM)])).toEqual([undefined]);
    const after = await bus.append(ROOM, draft(2), OPTIONS);
    expect(after.offset).toBe(1);
    expect(after.epoch).not.toBe(before.epoch);
  });

  test('[ST26] given a stream below a delivered position, when it is reported, then it gets a new epoch once', async () => {
    const { bus } = await fixture.replica();
    const top = await bus.append(ROOM, draft(1), OPTIONS);
    const seen = { offset: 3, epoch: top.epoch };
    const replaced = await bus.invalidateEpoch(ROOM, seen, RETENTION);
    expect(replaced).toEqual({ offset: 1, epoch: expect.not.stringContaining(top.epoch) });
    expect(await bus.invalidateEpoch(ROOM, seen, RETENTION)).toEqual(replaced);
    const { offset, epoch } = await bus.append(ROOM, draft(2), OPTIONS);
    expect({ offset, epoch }).toEqual({ offset: 2, epoch: replaced.epoch });
    expect(await bus.invalidateEpoch(ROOM, { offset: 2, epoch }, RETENTION)).toEqual({ offset: 2, epoch });
  });

  test('[ST27] given a stream, when it is cleared, then the publications are removed, offset and epoch stay, and every replica is notified in stream order', async () => {
    const [one, two] = [await fixture.replica(), await fixture.replica()];
    const { bus } = one;
    await Promise.all([bus.subscribe(ROOM), two.bus.subscribe(ROOM)]);
    const { epoch } = await bus.append(ROOM, draft(1), OPTIONS);
    await bus.clear(ROOM);
    expect(await bus.read(ROOM, { limit: 9, retention: RETENTION })).toEqual({
      top: { offset: 1, epoch },
      entries: [],
      remainingMs: 0,
    });
    expect(await bus.append(ROOM, draft(2), OPTIONS)).toMatchObject({ offset: 2, epoch });
    for (const { received } of [one, two]) {
      await expect
        .poll(() => received.map(({ kind, offset }) => [kind, offset]))
        .toEqual([
          ['publication', 1],
          ['clear', 1],
          ['publication', 2],
        ]);
      expect(received[1]).toMatchObject({ epoch, body: Buffer.alloc(0) });
    }
  });

  test('[ST28] given a store that is down, when any operation is called, then it fails at once', async () => {
    const { bus } = await fixture.replica();
    await fixture.subject().cut();
    await expect.poll(() => bus.isUp()).toBe(false);
    const unavailable = expect.objectContaining({ code: 'REDIS_UNAVAILABLE' });
    await expect(bus.append(ROOM, draft(1), OPTIONS)).rejects.toEqual(unavailable);
    await expect(bus.read(ROOM, { limit: 1, retention: RETENTION })).rejects.toEqual(unavailable);
    await expect(bus.tops([unchanged(ROOM)])).rejects.toEqual(unavailable);
    await fixture.subject().restore();
  });
};
