import { expect, test } from 'vitest';
import { type HeartbeatReply, hasLostData } from './bus-heartbeat.ts';

const STATE: HeartbeatReply = { epoch: 'e', isNew: false, top: '5-0', servers: ['a', 'b'] };

test('[SE54] what Redis may have lost is noticed by another life of a server, even when the stream has grown since', () => {
  expect(hasLostData(STATE, { ...STATE, top: '9-0', servers: ['a', 'c'] })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, servers: ['c'] })).toBe(true);
});

test('[SE54] so it is by another epoch, a stream that went back, and a flush', () => {
  expect(hasLostData(STATE, { ...STATE, epoch: 'f' })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, top: '4-9' })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, isNew: true })).toBe(true);
});

test('[SE54] a stream that grows, a node that is away for a while, and the first look are no loss', () => {
  expect(hasLostData(STATE, { ...STATE, top: '9-0' })).toBe(false);
  expect(hasLostData(STATE, { ...STATE, servers: ['a'] })).toBe(false);
  expect(hasLostData(undefined, STATE)).toBe(false);
});
