import { describe, expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';

const BUDGET = 65_536;
const retention = { size: 300, ttlMs: 300_000, metaTtlMs: 3_000_000 };
/** An engine with a group that keeps ten publications of 4,000 bytes. */
const withHistory = async () => {
  const under = engineUnderTest({ limits: { maxBatchAnswerBytes: BUDGET }, groups: { retention } });
  for (let n = 0; n < 10; n += 1) {
    await under.engine.api.call('publish', { channel: 'big', data: 'x'.repeat(4_000) });
  }
  return under;
};
const history = { history: { channel: 'big', limit: -1 } };
const publish = { publish: { channel: 'other', data: 1 } };
const TOO_LARGE = {
  error: { code: 106, message: expect.stringContaining('65536 bytes in total (MAX_BATCH_ANSWER_BYTES)') },
};

describe('[AP23] [AP47] [AP48] given a batch whose results are larger than MAX_BATCH_ANSWER_BYTES together', () => {
  test.each([false, true])(
    'then each reading call that does not fit is 106, what writes is done, and the answer is bounded (parallel: %s)',
    async (parallel) => {
      const { engine, metrics } = await withHistory();
      const commands = [...Array(150).fill(history), publish, { presence_stats: { channel: 'x' } }];
      const outcome = await engine.api.call('batch', { commands, parallel });
      if (!outcome.ok) throw new Error(`the batch answered ${outcome.code}`);
      const { replies } = JSON.parse(outcome.json);
      expect(replies[0].history.publications).toHaveLength(10);
      expect(replies.slice(1, 150)).toEqual(Array(149).fill(TOO_LARGE));
      expect(replies[150]).toMatchObject({ publish: { offset: 1 } });
      expect(replies[151]).toMatchObject({ error: { code: 108 } });
      expect(outcome.json.length).toBeLessThan(2 * BUDGET);
      expect(metrics.limited).toEqual(Array(149).fill('batch_answer'));
    },
  );

  test('then a later answer that still fits is given, and the call by itself is answered', async () => {
    const { engine } = await withHistory();
    const small = { history: { channel: 'big', limit: 1 } };
    const outcome = await engine.api.call('batch', { commands: [history, history, small] });
    if (!outcome.ok) throw new Error(`the batch answered ${outcome.code}`);
    const { replies } = JSON.parse(outcome.json);
    expect(replies[1]).toEqual(TOO_LARGE);
    expect(replies[2].history.publications).toHaveLength(1);
    expect((await engine.api.call('history', history.history)).ok).toBe(true);
  });
});
