import { createMemoryBroker } from '@muster/bus/memory-broker';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const TTL_MS = 60_000;
const retention = { size: 20, ttlMs: TTL_MS, metaTtlMs: 120_000 };

interface Subscribed {
  readonly subscribe: {
    readonly epoch: string;
    readonly offset: number;
    readonly recovered?: true;
    readonly publications?: { readonly offset: number }[];
  };
}

/** Two gateways on one broker, with a member each, and one clock that both follow. */
const fleet = async (groups: object = {}) => {
  let nowMs = 0;
  const broker = createMemoryBroker(() => nowMs);
  const options = { broker, groups: { retention, ...groups } };
  const gateways = [engineUnderTest(options), engineUnderTest(options)] as const;
  for (const { connected } of gateways) await (await connected()).say(subscribe());
  return {
    call: async (method: string, params: object = {}) => {
      const outcome = await gateways[0].engine.api.call(method, { channel: 'room', ...params });
      expect(outcome).toMatchObject({ ok: true });
    },
    pass: async (ms: number) => {
      nowMs += ms;
      for (const gateway of gateways) await gateway.pass(ms);
    },
    /** A client that was subscribed up to an offset reconnects. */
    comesBack: async (gateway: 0 | 1, offset: number, more: object = {}) => {
      const { say, connection } = await gateways[gateway].connected(gateway === 0 ? 'ann' : 'bob');
      const answers = (await say(subscribe({ recover: true, offset, ...more }))) as Subscribed[];
      connection.terminate();
      const { subscribe: result } = answers.find((one) => 'subscribe' in one) as Subscribed;
      return result.recovered ? (result.publications ?? []).map((one) => one.offset) : 'told';
    },
  };
};
const subscribe = (more: object = {}) => ({ id: 2, subscribe: { channel: 'room', ...more } });

describe.each(['stream', 'cache'] as const)('in %s mode, on either gateway', (recoveryMode) => {
  const newest = (offset: number) => (recoveryMode === 'stream' ? [offset - 1, offset] : [offset]);

  test('[RC7] given a removed publication, when a client recovers on either gateway, then it is not delivered', async () => {
    const { call, comesBack } = await fleet({ recoveryMode });
    for (const data of [1, 2, 3]) await call('publish', { data });
    for (const gateway of [0, 1] as const) expect(await comesBack(gateway, 1)).toEqual(newest(3));
    await call('history_remove');
    for (const gateway of [0, 1] as const) {
      expect(await comesBack(gateway, 1)).toBe('told');
      expect(await comesBack(gateway, 1, { delta: 'fossil' })).toBe('told');
      expect(await comesBack(gateway, 3)).toEqual([]);
    }
    for (const data of [4, 5]) await call('publish', { data });
    for (const gateway of [0, 1] as const) expect(await comesBack(gateway, 3)).toEqual(newest(5));
  });

  test('[RC15] given an expired publication, when a client recovers on either gateway, then it is not delivered', async () => {
    const { call, comesBack, pass } = await fleet({ recoveryMode });
    for (const data of [1, 2, 3]) await call('publish', { data });
    await pass(TTL_MS - 1_000);
    for (const gateway of [0, 1] as const) expect(await comesBack(gateway, 1)).toEqual(newest(3));
    await pass(1_000);
    for (const gateway of [0, 1] as const) expect(await comesBack(gateway, 1)).toBe('told');
    await call('publish', { data: 4 });
    if (recoveryMode === 'cache') return;
    for (const gateway of [0, 1] as const) expect(await comesBack(gateway, 2)).toBe('told');
  });
});

test('[RC16] given more publications than history_size, when a client recovers, then none beyond is delivered from memory', async () => {
  const { call, comesBack } = await fleet({ retention: { ...retention, size: 2 } });
  for (const data of [1, 2, 3, 4]) await call('publish', { data });
  for (const gateway of [0, 1] as const) {
    expect(await comesBack(gateway, 1)).toBe('told');
    expect(await comesBack(gateway, 2)).toEqual([3, 4]);
  }
});

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constant({ do: 'publish' as const }) },
    { weight: 1, arbitrary: fc.constant({ do: 'remove' as const }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: TTL_MS }) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('back' as const),
        gateway: fc.constantFrom(0 as const, 1 as const),
        missed: fc.nat(6),
      }),
    },
  ),
  { minLength: 10, maxLength: 40 },
);

test('[RC7] [RC15] [RC16] given any sequence of publications, removals and expiries, when a client recovers, then it receives what the stream has, or is not recovered', async () => {
  const run = async (
    plan: readonly (typeof steps extends fc.Arbitrary<infer T> ? T : never)[number][],
    size: number,
  ) => {
    const { call, comesBack, pass } = await fleet({ retention: { ...retention, size } });
    let [top, removed, now, expiresAt] = [0, 0, 0, 0];
    for (const step of plan) {
      if (step.do === 'publish') {
        if (now >= expiresAt) removed = top;
        top += 1;
        expiresAt = now + TTL_MS;
        await call('publish', { data: top });
      } else if (step.do === 'remove') {
        await call('history_remove');
        removed = top;
      } else if (step.do === 'pass') {
        await pass(step.ms);
        now += step.ms;
      } else {
        const from = Math.max(0, top - step.missed);
        const oldest = Math.max(now >= expiresAt ? top : removed, top - size);
        const wanted = Array.from({ length: top - from }, (_, n) => from + 1 + n);
        expect(await comesBack(step.gateway, from)).toEqual(from >= oldest ? wanted : 'told');
      }
    }
  };
  await fc.assert(fc.asyncProperty(steps, fc.constantFrom(2, 5, 20), run), { numRuns: 25 });
}, 60_000);
