import { createBreaker } from '@muster/kit/circuit-breaker';
import { createFakeClock } from '@muster/testkit/fake-clock';
import { expect, test } from 'vitest';

test('[SE23] given five failures, the breaker opens for a second, then one call probes', async () => {
  const clock = createFakeClock();
  const breaker = createBreaker({ clock, what: 'a cache', deadlineMs: 1000 });
  let calls = 0;
  const failing = () => {
    calls += 1;
    return Promise.reject(new Error('down'));
  };
  for (let n = 0; n < 5; n += 1) await expect(breaker.run(failing)).rejects.toThrow('down');
  await expect(breaker.run(failing)).rejects.toThrow('not called');
  expect(calls).toBe(5);
  clock.advance(1001);
  const gate = Promise.withResolvers<string>();
  const probe = breaker.run(() => gate.promise);
  await expect(breaker.run(failing)).rejects.toThrow('not called');
  gate.resolve('up');
  await expect(probe).resolves.toBe('up');
  await expect(breaker.run(async () => 'fine')).resolves.toBe('fine');
  expect(breaker.isOpen()).toBe(false);
});

test('[SE23] given a failed probe, the breaker stays open for another second', async () => {
  const clock = createFakeClock();
  const breaker = createBreaker({ clock, what: 'a cache', deadlineMs: 1000, failures: 1 });
  const failing = () => Promise.reject(new Error('down'));
  await expect(breaker.run(failing)).rejects.toThrow('down');
  clock.advance(1001);
  await expect(breaker.run(failing)).rejects.toThrow('down');
  expect(breaker.isOpen()).toBe(true);
});
