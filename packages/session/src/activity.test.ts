import { createFakeClock } from '@muster/testkit/fake-clock';
import { expect, test } from 'vitest';
import { createTouchThrottle, touchIntervalMs } from './activity.ts';
import { newSessionId } from './token.ts';

test('[TO1] given many activities, when they are recorded, then one per interval is written', () => {
  const clock = createFakeClock();
  const throttle = createTouchThrottle({ clock });
  const session = { id: newSessionId(), idleSeconds: 3600 };
  let told = 0;
  for (let n = 0; n < 10_000; n += 1) {
    if (throttle.admits(session)) told += 1;
    clock.advance(6);
  }
  expect(told).toBe(1);
  clock.advance(1);
  expect(throttle.admits(session)).toBe(true);
  expect(throttle.admits({ id: newSessionId(), idleSeconds: 3600 })).toBe(true);
});

test('[TO1] given an idle limit, when the interval is computed, then it is a tenth of it, at most a minute; without a limit nothing is written', () => {
  expect(touchIntervalMs(100)).toBe(10_000);
  expect(touchIntervalMs(14 * 86_400)).toBe(60_000);
  const throttle = createTouchThrottle({ clock: createFakeClock() });
  expect(throttle.admits({ id: newSessionId(), idleSeconds: 0 })).toBe(false);
});
