import { expect, test } from 'vitest';
import { type HeartbeatReply, hasLostData } from './bus-heartbeat.ts';

const STATE: HeartbeatReply = { epoch: 'e', isNew: false, top: '5-0', servers: ['a', 'b'] };

test('[SE54] given a restarted server, a loss is detected even if the stream has grown', () => {
  expect(hasLostData(STATE, { ...STATE, top: '9-0', servers: ['a', 'c'] })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, servers: ['c'] })).toBe(true);
});

test('[SE54] given another epoch, a shorter stream or a flush, data was lost', () => {
  expect(hasLostData(STATE, { ...STATE, epoch: 'f' })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, top: '4-9' })).toBe(true);
  expect(hasLostData(STATE, { ...STATE, isNew: true })).toBe(true);
});

test('[SE54] given a growing stream, an absent node or the first reply, no data was lost', () => {
  expect(hasLostData(STATE, { ...STATE, top: '9-0' })).toBe(false);
  expect(hasLostData(STATE, { ...STATE, servers: ['a'] })).toBe(false);
  expect(hasLostData(undefined, STATE)).toBe(false);
});
