import { expect, test, vi } from 'vitest';
import { FakeWire, settle } from '../engine-fixture.ts';
import { jsonCodec } from './codec.ts';
import { SendBuffer } from './send-buffer.ts';
import { createTicks } from './timer-wheel.ts';
import { textFrame } from './websocket-frame.ts';

const frameOf = (value: number): Buffer => textFrame(Buffer.from(String(value)));

const outboxUnderTest = (maxBytes = 1_000_000) => {
  const wire = new FakeWire();
  const slow = vi.fn();
  const ticks = createTicks();
  const outbox = new SendBuffer(wire, jsonCodec, maxBytes, { isClosed: false, onSlow: slow }, ticks);
  return { wire, outbox, slow, ticks };
};

test('[OB8] given replies and a publication, when they are written in one turn, then they are one write, in order', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  outbox.post('2');
  expect(outbox.offer(frameOf(3))).toBe(true);
  expect(wire.writes).toBe(1);
  await settle();
  expect([wire.writes, wire.frames]).toEqual([1, 2]);
  expect(wire.take()).toEqual([1, 2, 3]);
});

test('[OB8] given replies without a publication, when the turn ends, then they are written before anything later', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  await settle();
  expect(wire.take()).toEqual([1]);
  outbox.post('2');
  outbox.write(frameOf(3));
  outbox.post('4');
  await settle();
  expect(wire.take()).toEqual([2, 3, 4]);
});

test('[OB8] given a publication that does not fit, when it is offered, then the replies are written', async () => {
  const { wire, outbox, slow } = outboxUnderTest(20);
  wire.bufferedBytes = 10;
  outbox.post('1');
  expect(outbox.offer(textFrame(Buffer.from('"a publication of some length"')))).toBe(false);
  await settle();
  expect(wire.take()).toEqual([1]);
  expect(slow).not.toHaveBeenCalled();
});

test('[OB8] given a long publication, when it is written with a reply, then it is not copied', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  expect(outbox.offer(textFrame(Buffer.from(`"${'x'.repeat(20_000)}"`)))).toBe(true);
  expect([wire.writes, wire.frames]).toEqual([2, 2]);
});

const unread = (maxBytes: number) => {
  const parts = outboxUnderTest(maxBytes);
  parts.wire.isRead = false;
  return parts;
};
const long = (bytes: number): Buffer => textFrame(Buffer.from(`"${'x'.repeat(bytes - 2)}"`));

test('[OB9] given an empty send buffer, when a frame of any size is offered, then it is accepted, and the bound counts later frames', () => {
  const { wire, outbox, slow } = unread(1_000);
  expect(outbox.offer(long(200_000))).toBe(true);
  expect(outbox.offer(long(900))).toBe(true);
  expect(outbox.offer(long(900))).toBe(false);
  outbox.write(frameOf(1));
  expect(slow).not.toHaveBeenCalled();
  wire.read();
  expect(outbox.offer(long(900))).toBe(true);
  expect(outbox.offer(long(900))).toBe(false);
  outbox.write(long(300_000));
  expect(slow).toHaveBeenCalledOnce();
});

test('[OB10] given several large results, when they are requested at once, then each is built when the previous is read', async () => {
  const { wire, outbox, slow, ticks } = unread(100_000);
  const made: number[] = [];
  const all = [1, 2, 3].map((n) =>
    outbox.inTurn(async () => {
      made.push(n);
      outbox.post(JSON.stringify('x'.repeat(400_000)));
    }),
  );
  await settle();
  ticks.tick();
  await settle();
  expect(made).toEqual([1]);
  for (const until of [2, 3]) {
    wire.read();
    ticks.tick();
    await settle();
    expect(made.length).toBe(until);
  }
  await Promise.all(all);
  expect(slow).not.toHaveBeenCalled();
});

test('[OB15] given a result that could not be built, when others are pending, then they are built', async () => {
  const { outbox } = outboxUnderTest();
  const failed = outbox.inTurn(() => Promise.reject(new Error('away')));
  const next = outbox.inTurn(async () => outbox.post('2'));
  await expect(failed).rejects.toThrow('away');
  await next;
});
