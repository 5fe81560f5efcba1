import { expect, test } from 'vitest';
import { type BusState, hasLostMemory } from './bus-heartbeat.ts';

const STATE: BusState = { epoch: 'e', isNew: false, top: '5-0', servers: ['a', 'b'] };

test('[SE54] what Redis may have lost is noticed by another life of a server, even when the stream has grown since', () => {
  expect(hasLostMemory(STATE, { ...STATE, top: '9-0', servers: ['a', 'c'] })).toBe(true);
  expect(hasLostMemory(STATE, { ...STATE, servers: ['c'] })).toBe(true);
});

test('[SE54] so it is by another epoch, a stream that went back, and a flush', () => {
  expect(hasLostMemory(STATE, { ...STATE, epoch: 'f' })).toBe(true);
  expect(hasLostMemory(STATE, { ...STATE, top: '4-9' })).toBe(true);
  expect(hasLostMemory(STATE, { ...STATE, isNew: true })).toBe(true);
});

test('[SE54] a stream that grows, a node that is away for a while, and the first look are no loss', () => {
  expect(hasLostMemory(STATE, { ...STATE, top: '9-0' })).toBe(false);
  expect(hasLostMemory(STATE, { ...STATE, servers: ['a'] })).toBe(false);
  expect(hasLostMemory(undefined, STATE)).toBe(false);
});
