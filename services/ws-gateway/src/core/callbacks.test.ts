import { describe, expect, test } from 'vitest';
import { type AppCallbacks, type CallbackAnswer, noCallbacks } from './callbacks.ts';
import { engineUnderTest, settle } from './engine-fixture.ts';
import type { SubscriptionTokenReader } from './ports.ts';

const DENIED = { is: 'error', code: 403, message: 'not you', temporary: false } as const;
const BUSY = { is: 'error', code: 1_999, message: 'busy', temporary: true } as const;
const BANNED = { is: 'disconnect', code: 4_500, reason: 'banned' } as const;
const AWAY = { is: 'unavailable' } as const;
const asking = { subscribeCallback: true, publishCallback: true };

const application = (answers: Partial<AppCallbacks>): AppCallbacks => ({
  ...noCallbacks,
  has: () => true,
  ...answers,
});

describe('subscribe', () => {
  const answered = async (answer: CallbackAnswer<object>) => {
    const asked: unknown[] = [];
    const callbacks = application({
      subscribe: async ({ identity }, question) => {
        asked.push([identity.user, question]);
        return answer;
      },
    });
    const { connected } = engineUnderTest({
      callbacks,
      groups: { ...asking, presence: true, allowSubscribeForClient: false },
    });
    const ann = await connected();
    return { asked, ann, replies: await ann.say({ id: 2, subscribe: { channel: 'a', data: { code: 7 } } }) };
  };

  test('[AQ1] [AQ11] given a subscribe callback, when the application answers, then it decides in place of the options', async () => {
    const { asked, ann, replies } = await answered({
      is: 'result',
      result: { info: '"seat"', data: '"hi"', expiresAt: 1_060_000, override: { presence: false } },
    });
    expect(asked).toEqual([['ann', { group: 'a', data: '{"code":7}' }]]);
    expect(replies).toEqual([{ id: 2, subscribe: { expires: true, ttl: 60, data: 'hi' } }]);
    expect(await ann.say({ id: 3, presence: { channel: 'a' } })).toMatchObject([{ presence: { presence: {} } }]);
  });

  test('[AQ3] [AQ13] [AQ14] given an error, a disconnect or no answer of the application, when a client subscribes, then it receives that, or error 100', async () => {
    expect((await answered(DENIED)).replies).toEqual([{ id: 2, error: { code: 403, message: 'not you' } }]);
    expect((await answered(BUSY)).replies).toMatchObject([{ error: { code: 1_999, temporary: true } }]);
    expect((await answered(AWAY)).replies).toMatchObject([{ error: { code: 100, temporary: true } }]);
    expect((await answered({ is: 'result', result: { expiresAt: 1 } })).replies).toMatchObject([
      { error: { code: 110 } },
    ]);
    expect((await answered(BANNED)).ann.wire.closed).toEqual({ code: 4_500, reason: 'banned' });
  });

  test('[AQ4] given a subscribe callback, when a client uses other names or endpoints, then the callback is not bypassed', async () => {
    const callbacks = application({ subscribe: async () => ({ is: 'result', result: {} }) });
    const { connected, engine, authenticator, client } = engineUnderTest({ callbacks, groups: asking });
    const ann = await connected();
    for (const channel of ['x#bob', '$x'])
      expect(await ann.say({ id: 2, subscribe: { channel } })).toMatchObject([{ error: { code: 103 } }]);
    expect(engine.mayUse(authenticator.identity('ann' as never), 'a' as never)).toBe(false);
    const back = client();
    expect(await back.say({ id: 1, connect: { token: 'ann', subs: { a: { recover: true } } } })).not.toMatchObject([
      { connect: { subs: expect.anything() } },
    ]);
  });
});

test('[AQ12] given a subscription token or a grant, when a client subscribes, then the application is not called', async () => {
  let calls = 0;
  const callbacks = application({
    subscribe: async () => {
      calls += 1;
      return DENIED;
    },
  });
  const subscriptionTokens: SubscriptionTokenReader = {
    read: async () => ({ ok: true, user: 'ann', client: undefined, group: 'a', terms: {} }),
  };
  const { connected, authenticator } = engineUnderTest({ callbacks, subscriptionTokens, groups: asking });
  const ann = await connected('ann');
  expect(await ann.say({ id: 2, subscribe: { channel: 'a', token: 'any' } })).toEqual([{ id: 2, subscribe: {} }]);
  authenticator.more = { grants: [{ groups: 'b', allow: ['subscribe'] }] };
  const bob = await connected('bob');
  expect(await bob.say({ id: 2, subscribe: { channel: 'b' } })).toEqual([{ id: 2, subscribe: {} }]);
  expect(calls).toBe(0);
});

describe('publish', () => {
  test('[AQ5] given a publish callback, when the application returns data, then that is published', async () => {
    const callbacks = application({
      subscribe: async () => ({ is: 'result', result: {} }),
      publish: async (_, { data }) => ({
        is: 'result',
        result: { data: `[${data}]`, isBinary: false, skipHistory: true },
      }),
    });
    const retention = { size: 5, ttlMs: 60_000, metaTtlMs: 60_000 };
    const { connected } = engineUnderTest({
      callbacks,
      groups: { ...asking, retention, allowPublishForClient: false },
    });
    const ann = await connected();
    await ann.say({ id: 2, subscribe: { channel: 'a' } });
    expect(await ann.say({ id: 3, publish: { channel: 'a', data: 1 } })).toEqual([
      { push: { channel: 'a', pub: { data: [1], info: { user: 'ann', client: ann.connection.id } } } },
      { id: 3, publish: {} },
    ]);
    expect(await ann.say({ id: 4, history: { channel: 'a', limit: 5 } })).toMatchObject([
      { history: { publications: [] } },
    ]);
  });

  test('[AQ15] given several publications, when the application answers in another order, then they are published in order', async () => {
    const waiting: PromiseWithResolvers<void>[] = [];
    const callbacks = application({
      publish: async () => {
        const latch = Promise.withResolvers<void>();
        waiting.push(latch);
        await latch.promise;
        return { is: 'result', result: { skipHistory: false } };
      },
    });
    const { connected } = engineUnderTest({ callbacks, groups: { publishCallback: true } });
    const ann = await connected();
    await ann.say({ id: 2, subscribe: { channel: 'a' } });
    await ann.say(...[1, 2, 3].map((data) => ({ id: data + 10, publish: { channel: 'a', data } })));
    expect(waiting).toHaveLength(3);
    for (const latch of waiting.toReversed()) {
      latch.resolve();
      await settle();
    }
    const pushes = (ann.wire.take() as { push?: { pub: { data: number } } }[]).flatMap(
      ({ push }) => push?.pub.data ?? [],
    );
    expect(pushes).toEqual([1, 2, 3]);
    expect(ann.connection.pendingReplies).toBe(0);
  });

  test('[AQ3] [AQ14] given a rejection or no answer of the application, when a client publishes, then nothing is published', async () => {
    for (const [answer, code] of [
      [DENIED, 403],
      [AWAY, 100],
    ] as const) {
      const callbacks = application({ publish: async () => answer });
      const { connected } = engineUnderTest({ callbacks, groups: { publishCallback: true } });
      const ann = await connected();
      await ann.say({ id: 2, subscribe: { channel: 'a' } });
      expect(await ann.say({ id: 3, publish: { channel: 'a', data: 1 } })).toMatchObject([{ id: 3, error: { code } }]);
      expect(await ann.say({ id: 4, publish: { channel: 'x#bob', data: 1 } })).toMatchObject([
        { error: { code: 103 } },
      ]);
    }
  });
});

describe('rpc', () => {
  test('[AQ17] [AQ18] given an RPC callback or none, when a back end calls rpc, then the application answers, or the result is error 104', async () => {
    const callbacks = application({
      rpc: async (caller, { method, data }) =>
        method === 'echo'
          ? { is: 'result', result: { data: `[${JSON.stringify(caller)},${data}]` } }
          : { is: 'error', code: 1_500, message: 'no', temporary: false },
    });
    const { engine } = engineUnderTest({ callbacks });
    expect(await engine.api.call('rpc', { method: 'echo', params: { a: 1 } })).toEqual({
      ok: true,
      json: '{"data":[{"tenant":"default"},{"a":1}]}',
    });
    expect(await engine.api.call('rpc', { method: 'x' })).toEqual({
      ok: false,
      code: 1_500,
      appMessage: 'no',
    });
    expect(await engine.api.call('rpc', {})).toMatchObject({ ok: false, code: 107 });
    const none = engineUnderTest();
    expect(await none.engine.api.call('rpc', { method: 'x' })).toMatchObject({ ok: false, code: 104 });
  });

  test('[AQ6] [AQ16] given an RPC callback or none, when a client sends rpc, then the application answers, or the reply is error 108', async () => {
    const none = engineUnderTest();
    expect(await (await none.connected()).say({ id: 2, rpc: { method: 'now' } })).toMatchObject([
      { error: { code: 108 } },
    ]);
    const callbacks = application({
      rpc: async (caller, { method, data }) =>
        method === 'echo'
          ? {
              is: 'result',
              result: {
                data: `{"of":"${'identity' in caller ? caller.identity.user : caller.tenant}","data":${data}}`,
              },
            }
          : { is: 'error', code: 104, message: 'method not found', temporary: false },
    });
    const { connected } = engineUnderTest({ callbacks });
    const ann = await connected();
    expect(await ann.say({ id: 2, rpc: { method: 'echo', data: 1 } }, { id: 3, rpc: { method: 'x' } })).toEqual([
      { id: 2, rpc: { data: { of: 'ann', data: 1 } } },
      { id: 3, error: { code: 104, message: 'method not found' } },
    ]);
    expect(ann.connection.pendingReplies).toBe(0);
  });
});
