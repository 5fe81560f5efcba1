import { expect, test } from 'vitest';
import { WireState } from './wire-state.ts';

test('[CV5] given tokens that were refreshed, when a connection is continued, then it presents the newest', () => {
  const state = new WireState();
  state.sent({ id: 1, connect: { token: 'first' } });
  state.sent({ id: 2, subscribe: { channel: '$room', token: 'sub-first', flag: 1 } });
  state.received({ id: 1, connect: { client: 'c', pong: true } });
  state.received({ id: 2, subscribe: { id: 7, recoverable: true, offset: 4, epoch: 'e' } });
  state.received({ push: { id: 7, pub: { offset: 5 } } });
  for (const command of [
    { id: 3, refresh: { token: 'second' } },
    { id: 4, sub_refresh: { channel: '$room', token: 'sub-second' } },
  ])
    state.sent(command);
  state.received({ id: 3 });
  state.received({ id: 4 });
  expect(state.hasPending).toBe(false);
  expect(state.resume().commands).toEqual([
    { id: 1, connect: { token: 'second', subs: {} } },
    {
      id: 2,
      subscribe: { channel: '$room', token: 'sub-second', flag: 0, recover: true, offset: 5, epoch: 'e' },
    },
  ]);
});

test('[CV4] given replies that do not continue the state, when they are adopted, then they are refused', () => {
  const state = new WireState();
  state.sent({ id: 1, connect: {} });
  state.sent({ id: 2, subscribe: { channel: 'room' } });
  state.received({ id: 1, connect: {} });
  state.received({ id: 2, subscribe: { recoverable: true, offset: 4, epoch: 'e' } });
  const request = state.resume();
  const adopt = (connect: object, subscribe: object) =>
    state.adopt(
      request,
      new Map([
        [1, { id: 1, connect }],
        [2, { id: 2, subscribe }],
      ]),
    );
  expect(adopt({}, { recovered: false, epoch: 'other' })).toBeUndefined();
  expect(adopt({}, { recovered: true, epoch: 'other' })).toBeUndefined();
  expect(adopt({}, { recovered: true, epoch: 'e', delta: true })).toBeUndefined();
  expect(adopt({ subs: { 'user:#ann': {} } }, { recovered: true, epoch: 'e' })).toBeUndefined();
  expect(adopt({}, { recovered: true, epoch: 'e', publications: [{ offset: 5 }] })).toEqual([
    { push: { channel: 'room', pub: { offset: 5 } } },
  ]);
});
