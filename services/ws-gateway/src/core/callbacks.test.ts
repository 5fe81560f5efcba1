import { describe, expect, test } from 'vitest';
import { type AppCallbacks, type CallbackAnswer, noCallbacks } from './callbacks.ts';
import { engineUnderTest, settle } from './engine-fixture.ts';

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

  test('[AQ1] the application decides in the place of the options, and on which terms', async () => {
    const { asked, ann, replies } = await answered({
      is: 'result',
      result: { info: '"seat"', data: '"hi"', expiresAt: 1_060_000, override: { presence: false } },
    });
    expect(asked).toEqual([['ann', { group: 'a', data: '{"code":7}' }]]);
    expect(replies).toEqual([{ id: 2, subscribe: { expires: true, ttl: 60, data: 'hi' } }]);
    expect(await ann.say({ id: 3, presence: { channel: 'a' } })).toMatchObject([
      { presence: { presence: {} } },
    ]);
  });

  test('[AQ3] an error, an end or no answer of the application is what the client gets', async () => {
    expect((await answered(DENIED)).replies).toEqual([{ id: 2, error: { code: 403, message: 'not you' } }]);
    expect((await answered(BUSY)).replies).toMatchObject([{ error: { code: 1_999, temporary: true } }]);
    expect((await answered(AWAY)).replies).toMatchObject([{ error: { code: 100, temporary: true } }]);
    expect((await answered({ is: 'result', result: { expiresAt: 1 } })).replies).toMatchObject([
      { error: { code: 110 } },
    ]);
    expect((await answered(BANNED)).ann.wire.closed).toEqual({ code: 4_500, reason: 'banned' });
  });

  test('[AQ4] nobody goes round the application: not by another user’s group, a private one or the plain endpoint', async () => {
    const callbacks = application({ subscribe: async () => ({ is: 'result', result: {} }) });
    const { connected, engine, gate, client } = engineUnderTest({ callbacks, groups: asking });
    const ann = await connected();
    for (const channel of ['x#bob', '$x'])
      expect(await ann.say({ id: 2, subscribe: { channel } })).toMatchObject([{ error: { code: 103 } }]);
    expect(engine.mayUse(gate.identity('ann' as never), 'a' as never)).toBe(false);
    const back = client();
    expect(
      await back.say({ id: 1, connect: { token: 'ann', subs: { a: { recover: true } } } }),
    ).not.toMatchObject([{ connect: { subs: expect.anything() } }]);
  });
});

describe('publish', () => {
  test('[AQ5] what the application makes of a publication is published', async () => {
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

  test('[AQ5] publications of one client keep their order, however long the application takes', async () => {
    const waiting: PromiseWithResolvers<void>[] = [];
    const callbacks = application({
      publish: async () => {
        const gate = Promise.withResolvers<void>();
        waiting.push(gate);
        await gate.promise;
        return { is: 'result', result: { skipHistory: false } };
      },
    });
    const { connected } = engineUnderTest({ callbacks, groups: { publishCallback: true } });
    const ann = await connected();
    await ann.say({ id: 2, subscribe: { channel: 'a' } });
    await ann.say(...[1, 2, 3].map((data) => ({ id: data + 10, publish: { channel: 'a', data } })));
    expect(waiting).toHaveLength(3);
    for (const gate of waiting.toReversed()) {
      gate.resolve();
      await settle();
    }
    const pushes = (ann.wire.take() as { push?: { pub: { data: number } } }[]).flatMap(
      ({ push }) => push?.pub.data ?? [],
    );
    expect(pushes).toEqual([1, 2, 3]);
    expect(ann.connection.publishing).toBe(0);
  });

  test('[AQ3] a publication that the application does not want is not made', async () => {
    for (const [answer, code] of [
      [DENIED, 403],
      [AWAY, 100],
    ] as const) {
      const callbacks = application({ publish: async () => answer });
      const { connected } = engineUnderTest({ callbacks, groups: { publishCallback: true } });
      const ann = await connected();
      await ann.say({ id: 2, subscribe: { channel: 'a' } });
      expect(await ann.say({ id: 3, publish: { channel: 'a', data: 1 } })).toMatchObject([
        { id: 3, error: { code } },
      ]);
      expect(await ann.say({ id: 4, publish: { channel: 'x#bob', data: 1 } })).toMatchObject([
        { error: { code: 103 } },
      ]);
    }
  });
});

describe('rpc', () => {
  test('[AQ6] back ends call the application in the same way', async () => {
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
    expect(await engine.api.call('rpc', { method: 'x' })).toEqual({ ok: false, code: 1_500, told: 'no' });
    expect(await engine.api.call('rpc', {})).toMatchObject({ ok: false, code: 107 });
    const none = engineUnderTest();
    expect(await none.engine.api.call('rpc', { method: 'x' })).toMatchObject({ ok: false, code: 104 });
  });

  test('[AQ6] a call is answered by the application; without one it is 108', async () => {
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
    expect(
      await ann.say({ id: 2, rpc: { method: 'echo', data: 1 } }, { id: 3, rpc: { method: 'x' } }),
    ).toEqual([
      { id: 2, rpc: { data: { of: 'ann', data: 1 } } },
      { id: 3, error: { code: 104, message: 'method not found' } },
    ]);
    expect(ann.connection.publishing).toBe(0);
  });
});
