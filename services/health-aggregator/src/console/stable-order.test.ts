import { expect, test } from 'vitest';
import { InteractionTracker, keepOrder } from './stable-order.ts';

const order = (before: string, next: string): string =>
  keepOrder([...before], [...next], (one) => one).join('');

test('[CO14] known items keep their places, new ones follow, and those that are gone leave', () => {
  expect(order('abc', 'cab')).toBe('abc');
  expect(order('abc', 'xcyab')).toBe('abcxy');
  expect(order('abc', 'cb')).toBe('bc');
  expect(order('', 'ba')).toBe('ba');
});

test('[CO14] a pointer or the focus inside holds a list still', () => {
  const attention = new InteractionTracker();
  expect(attention.isActive).toBe(false);
  attention.handlers.onPointerEnter();
  attention.handlers.onFocusIn();
  attention.handlers.onPointerLeave();
  expect(attention.isActive).toBe(true);
  attention.handlers.onFocusOut();
  expect(attention.isActive).toBe(false);
});
