import { expect, test } from 'vitest';
import { until } from './wait.ts';

const soon = { intervalMs: 0, timeoutMs: 20 };
const eventually = { intervalMs: 0, timeoutMs: 10_000 };

test('[TW3] resolves with the first truthy value', async () => {
  const answers = [undefined, 0, 'third', 'fourth'];
  expect(await until(() => answers.shift(), { ...eventually, what: 'an answer' })).toBe('third');
});

test('[TW3] resolves with the first value that `ok` accepts', async () => {
  let count = 0;
  const seen = await until(() => ++count, { ...eventually, ok: (value) => value === 3, what: 'three' });
  expect(seen).toBe(3);
});

test('[TW3] given a probe that throws, it tries again', async () => {
  let probes = 0;
  const probe = () => {
    probes += 1;
    if (probes < 3) throw new Error('too early');
    return 'there';
  };
  expect(await until(probe, { ...eventually, what: 'it' })).toBe('there');
});

test('[TW7] after the timeout, the error names the condition and the last value', async () => {
  const waiting = until(() => ({ state: 'down' }), {
    ...soon,
    ok: () => false,
    what: 'the gateway to be up',
  });
  await expect(waiting).rejects.toThrow(
    'timed out after 20 ms waiting for the gateway to be up; last value: {"state":"down"}',
  );
  const failing = until(() => Promise.reject(new Error('ECONNREFUSED')), { ...soon, what: 'an answer' });
  await expect(failing).rejects.toThrow('last value: ECONNREFUSED');
});

test('[TW7] a probe that never settles does not outlast the deadline', async () => {
  const waiting = until(() => new Promise<never>(() => {}), { ...soon, what: 'an answer' });
  await expect(waiting).rejects.toThrow('last value: the last probe did not settle');
});
