import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonCodec, protobufCodec } from '../connection/codec.ts';
import { TICK_MS } from '../engine.ts';
import { engineUnderTest, FakeWire, settle } from '../engine-fixture.ts';

const MAX_OUTBOX = 65_536;
const LIMITS = { maxSendBufferBytes: MAX_OUTBOX, maxPublicationBytes: MAX_OUTBOX / 2 };
const CODECS = {
  json: jsonCodec,
  // Encodes JSON and decodes Protobuf: the test is about what the gateway sends.
  protobuf: { ...protobufCodec, decode: jsonCodec.decode },
} as const;
const GROUPS = {
  retention: { size: 300, ttlMs: 600_000, metaTtlMs: 600_000 },
  presence: true,
  joinLeave: true,
};

interface Answer {
  readonly id?: number;
  readonly subscribe?: {
    readonly recovered?: true;
    readonly publications?: object[];
    readonly offset: number;
  };
  readonly history?: { readonly publications: object[]; readonly offset: number };
  readonly push?: { readonly pub?: { readonly offset: number } };
}

const scenes = fc.record({
  codec: fc.constantFrom('json' as const, 'protobuf' as const),
  slowPolicy: fc.constantFrom('lag' as const, 'disconnect' as const),
  recoveryMode: fc.constantFrom('stream' as const, 'cache' as const),
  delta: fc.boolean(),
  sizes: fc.array(fc.oneof(fc.integer({ min: 1, max: 3_000 }), fc.integer({ min: 1, max: 32_000 })), {
    minLength: 1,
    maxLength: 60,
  }),
  /** Quotes become twice as long where payloads are strings. */
  filling: fc.constantFrom('x', '\\"', 'ż'),
  asks: fc.integer({ min: 1, max: 20 }),
});

/** A client that reads everything, in the pace of a slow line. */
const reads = async (wire: FakeWire, pass: (ms: number) => Promise<void>, isDone: () => boolean): Promise<void> => {
  for (let tick = 0; tick < 2_000 && !isDone(); tick++) {
    wire.read(20_000);
    await pass(TICK_MS / 10);
  }
};

test('[SW9] given a client that reads everything, when it reconnects, then it recovers everything or is informed, within any limits', async () => {
  const run = async ({
    codec,
    slowPolicy,
    recoveryMode,
    delta,
    sizes,
    filling,
    asks,
  }: ReturnType<typeof scenes.generate>['value']) => {
    const under = engineUnderTest({ limits: LIMITS, groups: { ...GROUPS, slowPolicy, recoveryMode } });
    const { engine, pass } = under;
    const first = await under.connected('ann');
    await first.say({ id: 2, subscribe: { channel: 'room' } });
    for (const size of sizes) {
      const data = filling.repeat(Math.max(1, Math.floor(size / Buffer.byteLength(JSON.stringify(filling)))));
      expect(await engine.api.call('publish', { channel: 'room', data })).toMatchObject({ ok: true });
    }
    await settle();
    first.connection.terminate();

    const wire = new FakeWire();
    const connection = engine.open(wire, { tokens: ['bob'], origin: undefined, codec: CODECS[codec] });
    wire.isRead = false;
    const say = (command: object) => connection.onFrame(JSON.stringify(command));
    say({ id: 1, connect: {} });
    say({
      id: 2,
      subscribe: { channel: 'room', recover: true, offset: 0, ...(delta ? { delta: 'fossil' } : {}) },
    });
    for (let id = 10; id < 10 + asks; id++) say({ id, history: { channel: 'room', limit: -1 } });
    say({ id: 5, presence: { channel: 'room' } });
    const live = () => connection.memberships.get('room')?.is === 'live' && connection.pendingReplies === 0;
    await settle();
    await reads(wire, pass, () => live() && wire.bufferedBytes === 0);
    expect(wire.closed).toBeUndefined();
    expect(live()).toBe(true);
    if (codec === 'protobuf') return;
    const answers = wire.take() as Answer[];
    const back = answers.find(({ subscribe }) => subscribe !== undefined)?.subscribe;
    const kept = recoveryMode === 'cache' ? 1 : sizes.length;
    if (back?.recovered) expect(back.publications).toHaveLength(kept);
    else expect(back?.offset).toBe(sizes.length);
    const histories = answers.flatMap(({ history }) => (history === undefined ? [] : [history]));
    expect(histories).toHaveLength(asks);
    for (const { publications, offset } of histories) {
      expect(publications.length).toBeGreaterThan(0);
      expect(offset).toBe(sizes.length);
    }
  };
  await fc.assert(fc.asyncProperty(scenes, run), { numRuns: 60 });
}, 60_000);

test.each(['room', 'plain'])(
  '[SW9] given publications of the largest size, when a client of kind %s reads them, then it stays open',
  async (kind) => {
    const under = engineUnderTest({ limits: LIMITS, groups: GROUPS });
    const { wire } = kind === 'plain' ? await under.plain('room') : await under.connected();
    if (kind === 'room') await under.connected('bob');
    for (let n = 0; n < 30; n++) {
      const data = 'x'.repeat(MAX_OUTBOX / 2 - 100);
      expect(await under.engine.api.call('publish', { channel: 'room', data })).toMatchObject({ ok: true });
    }
    await settle();
    expect(wire.closed).toBeUndefined();
  },
);

test('[SZ1] [SZ3] given a publication above the limit, when it is made, then it is rejected, counted, and not delivered', async () => {
  const { connected, plain, engine, metrics } = engineUnderTest({ limits: LIMITS, groups: GROUPS });
  const ann = await connected();
  const raw = await plain('room', 'bob');
  await ann.say({ id: 2, subscribe: { channel: 'room' } });
  const data = 'x'.repeat(MAX_OUTBOX / 2);
  expect(await ann.say({ id: 3, publish: { channel: 'room', data } })).toMatchObject([{ id: 3, error: { code: 107 } }]);
  raw.connection.onFrame(data);
  await settle();
  expect(raw.wire.take()).toMatchObject([{ type: 'error', code: 107 }]);
  const reason = expect.stringMatching(/^the publication has 32\d{3} bytes; at most 32768 \(MAX_PUBLICATION_BYTES\)$/);
  expect(await engine.api.call('publish', { channel: 'room', data })).toMatchObject({
    ...{ ok: false, code: 107, status: 413 },
    reason,
  });
  const tags = Object.fromEntries(Array.from({ length: 2_000 }, (_, n) => [`tag${n}`, 'x'.repeat(20)]));
  expect(await engine.api.call('publish', { channel: 'room', data: 1, tags })).toMatchObject({
    ok: false,
    code: 107,
  });
  const broadcast = await engine.api.call('broadcast', { channels: ['room', 'other'], data });
  expect(JSON.parse(broadcast.ok ? broadcast.json : '{}').responses).toMatchObject(
    Array(2).fill({ error: { code: 107, message: expect.stringContaining('MAX_PUBLICATION_BYTES') } }),
  );
  for (const method of ['send', 'subscribe']) {
    const call = engine.api.call(method, { user: 'ann', channel: 'elsewhere', data });
    expect(await call, method).toMatchObject({ ok: false, code: 107 });
  }
  await settle();
  expect([...ann.wire.take(), ...raw.wire.take()]).toEqual([]);
  expect(metrics.refusals.filter((one) => one === 'too_large').length).toBeGreaterThanOrEqual(6);
});
