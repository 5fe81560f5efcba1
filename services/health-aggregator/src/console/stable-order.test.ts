import { expect, test } from 'vitest';
import { InteractionTracker, keepOrder } from './stable-order.ts';

const order = (before: string, next: string): string => keepOrder([...before], [...next], (item) => item).join('');

test('[CO14] given a new list, known items keep their positions, new items follow, removed items leave', () => {
  expect(order('abc', 'cab')).toBe('abc');
  expect(order('abc', 'xcyab')).toBe('abcxy');
  expect(order('abc', 'cb')).toBe('bc');
  expect(order('', 'ba')).toBe('ba');
});

test('[CO14] given a pointer or the focus inside, the list is in use', () => {
  const tracker = new InteractionTracker();
  expect(tracker.isActive).toBe(false);
  tracker.handlers.onPointerEnter();
  tracker.handlers.onFocusIn();
  tracker.handlers.onPointerLeave();
  expect(tracker.isActive).toBe(true);
  tracker.handlers.onFocusOut();
  expect(tracker.isActive).toBe(false);
});
